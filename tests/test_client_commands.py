"""The command `classify` against a real server: what it prints and keeps, its exit status, and its README."""

import asyncio
import io
import json
import os
import re
import runpy
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from classifier_client.cli import stored_key
from classifier_client.cli.main import main

from testing.mqtt_broker import MqttBroker, mqtt_broker
from testing.photographs import CAT, COFFEE
from testing.servers import PROJECT, Server
from tests.counted import successes

NewUser = Callable[..., dict[str, Any]]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def key(new_user: NewUser) -> str:
    """The key of a new user whose limit is out of the way."""
    return str(new_user("--limit", "100000/minute")["key"])


@pytest.fixture
def run(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `classify` with arguments and what is typed; returns its exit status and what it printed."""
    monkeypatch.setenv("IMAGE_API_URL", server.url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.delenv("IMAGE_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        status = main(arguments)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_a_command_shows_labels(run: Run, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_API_KEY", key)
    status, out, err = run(str(COFFEE), "--top-k", "2")
    assert (status, err) == (0, "")
    first, _ = out.splitlines()
    assert first.startswith("espresso ")
    assert "%" in first
    assert "█" in first
    status, out, _ = run("--json", str(COFFEE), str(CAT))
    assert [json.loads(line)["file"] for line in out.splitlines()] == [str(COFFEE), str(CAT)]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["no-such.jpg"], 1, "classify: no-such.jpg: No such file or directory."),
        ([__file__], 1, "classify: "),
        (["--top-k", "0", "a.jpg"], 2, "--top-k"),
        (["--colour", "a.jpg"], 2, "--colour"),
        (["watch", "http://host"], 1, "mqtt://host/topic"),
        (["https://example.org/a.jpg"], 1, "The server fetches no addresses; download the image"),
        (["usage", "--bucket", "year"], 1, "bucket"),
        (["keys"], 1, "scope"),
    ],
)
def test_an_error_is_one_line_and_a_status(
    run: Run, key: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, says: str
) -> None:
    monkeypatch.setenv("IMAGE_API_KEY", key)
    ended, out, err = run(*arguments)
    assert (ended, out) == (status, "")
    assert says in err
    assert err.count("\n") == 1
    assert key not in err


def test_a_folder_that_was_interrupted_goes_on_where_it_was(
    run: Run, server: Server, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IMAGE_API_KEY", key)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        (photos / f"{number}.png").write_bytes(COFFEE.read_bytes() if number != 2 else b"no image")
    status, out, err = run("photos")
    assert status == 1
    assert "photos/2.png: " in err
    lines = out.splitlines()
    assert [json.loads(line)["file"] for line in lines] == [f"photos/{number}.png" for number in range(5)]
    assert json.loads(lines[2])["error"]["status"] == 400

    failed = json.dumps({"file": "photos/3.png", "error": {"status": 503, "detail": "x", "request_id": None}})
    (tmp_path / "out.jsonl").write_text("\n".join([*lines[:3], failed, lines[4][:30]]))
    before = successes(server, key)
    status, out, _ = run("photos", "-o", "out.jsonl", "--top-k", "5")
    assert (status, out) == (0, "")
    assert successes(server, key) == before + 2, "only what was not done is sent"
    done = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["file"] for line in done] == [f"photos/{number}.png" for number in range(5)]
    assert run("photos", "--resume", "out.jsonl") == (0, "", "")


def test_results_are_written_into_no_other_file(
    run: Run, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`classify -o *.jpg` names a photograph."""
    monkeypatch.setenv("IMAGE_API_KEY", key)
    others = [COFFEE.read_bytes(), b"notes\n", b'{"file": "a.jpg"}\nnotes', b'{"image": "a.jpg"}\n', b"[" * 100_000]
    for other in others:
        (tmp_path / "other").write_bytes(other)
        status, out, err = run(str(COFFEE), "-o", "other")
        assert (status, out) == (1, "")
        assert err == "classify: other does not hold results of classify; write to another file.\n"
        assert (tmp_path / "other").read_bytes() == other


def test_lines_of_others_are_no_results(run: Run, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMAGE_API_KEY", key)
    strange = [
        '{"file": ["a"]}',
        '{"file": {}, "error": 5}',
        '{"file": "a.jpg", "error": {"status": []}}',
        "[" * 99_999,
    ]
    (tmp_path / "old.jsonl").write_text("\n".join(strange))
    status, out, err = run(str(COFFEE), "--json", "--resume", "old.jsonl")
    assert (status, len(out.splitlines()), err) == (0, 1, "")


def test_a_link_to_the_results_stays_one(run: Run, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMAGE_API_KEY", key)
    (tmp_path / "far.jsonl").write_text('{"file": "cut')
    (tmp_path / "out.jsonl").symlink_to("far.jsonl")
    assert run(str(COFFEE), "-o", "out.jsonl") == (0, "", "")
    assert (tmp_path / "out.jsonl").is_symlink()
    assert json.loads((tmp_path / "far.jsonl").read_text())["file"] == str(COFFEE)


def test_login_keeps_a_key_that_only_its_owner_can_read(run: Run, server: Server, key: str) -> None:
    assert run("logout")[:2] == (0, "No key was stored.\n")
    assert "run classify login" in run(str(COFFEE))[2]
    mistyped = key[:-1] + ("0" if key[-1] != "0" else "1")
    status, _, err = run("login", typed=mistyped + "\n")
    assert status == 1
    assert "typing error" in err
    unknown = "imc_0123456789AB_0123456789ABCDEFGHIJKLMNOPQRSTUV" + "3YkvMh"
    assert run("login", typed=unknown + "\n")[0] == 1
    assert not stored_key.path().exists()

    status, out, err = run("login", typed=key + "\n")
    assert (status, err) == (0, "")
    assert key not in out
    assert stat.S_IMODE(stored_key.path().stat().st_mode) == 0o600
    assert run(str(COFFEE))[0] == 0
    status, out, _ = run("usage")
    assert status == 0
    assert "Limit 100000/minute" in out
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d  .*  █+$", out, re.MULTILINE)
    assert run("logout")[0] == 0
    assert not stored_key.path().exists()


def test_a_stored_key_is_sent_to_its_server_only(run: Run, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run("login", typed=key + "\n")
    monkeypatch.setenv("IMAGE_API_URL", "http://127.0.0.1:9")
    status, _, err = run(str(COFFEE))
    assert status == 1
    assert "The stored key is for" in err
    monkeypatch.delenv("IMAGE_API_URL")
    assert run(str(COFFEE))[0] == 0


def test_keys_are_listed_replaced_and_revoked(run: Run, new_user: NewUser) -> None:
    made = new_user("--scope", "keys", "--scope", "classify", "--scope", "usage")
    run("login", typed=made["key"] + "\n")
    status, out, _ = run("keys")
    assert status == 0
    assert made["key_id"] in out
    status, out, err = run("keys", "rotate", made["key_id"])
    new = out.strip()
    assert new.startswith("imc_")
    assert "stored" in err
    [old, found] = json.loads(run("keys", "list", "--json")[1])
    assert (old["state"], old["replaced_by"]) == ("revoked", found["key_id"])
    assert json.loads(run("keys", "--json", "list")[1])[0]["key_id"] == old["key_id"]
    assert run("keys", "revoke", found["key_id"])[0] == 0
    status, _, err = run(str(COFFEE))
    assert status == 1
    assert new not in err


def test_images_of_an_mqtt_broker_are_answered_there(server: Server, key: str, tmp_path: Path) -> None:
    """A camera publishes, the bridge answers on the topic beside, and does not take its own answers for images."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT / "client" / "src"),
        "IMAGE_API_URL": server.url,
        "IMAGE_API_KEY": key,
        "XDG_CONFIG_HOME": str(tmp_path),
    }

    async def published_and_answered(broker: MqttBroker) -> tuple[list[dict[str, Any]], int]:
        command = [sys.executable, "-m", "classify_command", "watch", f"{broker.address}/cameras/#"]
        bridge = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
        assert bridge.stderr is not None
        try:
            assert b"watching cameras/#" in await asyncio.wait_for(bridge.stderr.readline(), 60)
            async with broker.client() as camera:
                await camera.subscribe("cameras/+/labels", qos=1)
                answers = []
                for image in (COFFEE.read_bytes(), b"no image", COFFEE.read_bytes()):
                    await camera.publish("cameras/door", image, qos=1)
                    message = await asyncio.wait_for(anext(camera.messages), 60)
                    answers.append(json.loads(message.payload))
            bridge.send_signal(signal.SIGINT)
            return answers, await asyncio.wait_for(bridge.wait(), 60)
        finally:
            if bridge.returncode is None:
                bridge.kill()

    with mqtt_broker() as broker:
        answers, status = asyncio.run(published_and_answered(broker))
    assert [answer["topic"] for answer in answers] == ["cameras/door"] * 3
    assert answers[0]["predictions"][0]["label"] == answers[2]["predictions"][0]["label"] == "espresso"
    assert answers[1]["error"]["status"] == 400
    assert status == 0
    assert successes(server, key) == 2


README = (PROJECT / "client" / "README.md").read_text("utf-8")


def test_every_command_and_program_of_the_clients_readme_works(
    run: Run,
    key: str,
    tmp_path: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "photos/1.jpg"):
        (tmp_path / name).write_bytes(COFFEE.read_bytes())
    install, commands = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert install == "pip install ./client\n", "test_client_package.py builds the wheel"
    for command in commands.splitlines():
        program, *arguments = command.replace("http://127.0.0.1:3000", server.url).split()
        assert program == "classify"
        status, out, err = run(*arguments, typed=key)
        # The key of this test lacks the scope for keys.
        assert status == (1 if command == "classify keys" else 0), err
        if "photo.jpg" in command:
            assert "espresso" in out
    assert "espresso" in (tmp_path / "out.jsonl").read_text()
    monkeypatch.setenv("IMAGE_API_KEY", key)
    for program in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(program, "README.md", "exec"), {})
        assert "espresso" in capsys.readouterr().out
    example = PROJECT / "client" / "examples" / "classify_one.py"
    runpy.run_path(str(example))["main"](str(tmp_path / "photo.jpg"))
    assert re.match(r" *\d+\.\d%  espresso\n", capsys.readouterr().out)
