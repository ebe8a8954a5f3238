"""`classify` as a shell runs it: Ctrl+C, outputs that take no more, and whatever lies in a folder."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from classifier_client import images_in

from testing.photographs import COFFEE
from testing.servers import PROJECT, Server, inherited
from testing.waiting import PATIENCE_S

COMMAND = [sys.executable, "-m", "classify_command"]
# Ctrl+C arrives when the command imports a module: the named one, or the first that it imports at all.
STOPPED_AT_IMPORT = """
import os, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name in sys.argv[1:] or (not sys.argv[1:] and name != "classify_command"):
            os.kill(os.getpid(), 2)

sys.meta_path.insert(0, Interrupting())
import classify_command
sys.exit(classify_command.main())
"""

NewUser = Callable[..., dict[str, Any]]
Done = subprocess.CompletedProcess[bytes]


@pytest.fixture
def environment(server: Server, new_user: NewUser, tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has a key."""
    return {
        **inherited(),
        "PYTHONPATH": str(PROJECT / "client" / "src"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "IMAGE_API_URL": server.url,
        "IMAGE_API_KEY": new_user("--limit", "1000/hour")["key"],
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three photographs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        shutil.copy(COFFEE, folder / f"{number}.jpg")
    return folder


def in_shell(line: str, environment: dict[str, str], folder: Path) -> Done:
    """Run a line of the shell in which `classify` is the command."""
    script = f'classify() {{ {" ".join(COMMAND)} "$@"; }}\n{line}'
    return subprocess.run(["bash", "-c", script], env=environment, cwd=folder, capture_output=True, check=False)


@pytest.mark.parametrize("module", [(), ("httpx",)], ids=["the first of all", "the one that sends requests"])
def test_ctrl_c_while_python_imports_the_client_is_silent(module: tuple[str, ...]) -> None:
    environment = {**inherited(), "PYTHONPATH": str(PROJECT / "client" / "src")}
    # Without the packages that are installed here, of which some import much before the command starts.
    without = [] if module else ["-S"]
    command = [sys.executable, *without, "-c", STOPPED_AT_IMPORT, *module]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


def test_ctrl_c_ends_the_wait_for_a_limit_at_once(environment: dict[str, str], new_user: NewUser, photos: Path) -> None:
    """The server names a wait of an hour; a shell learns from the status that Ctrl+C ended the command."""
    environment["IMAGE_API_KEY"] = new_user("--limit", "1/hour")["key"]
    with subprocess.Popen(
        [*COMMAND, "--concurrency", "1", str(photos)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as classify:
        assert classify.stdout is not None
        assert json.loads(classify.stdout.readline())["predictions"]
        classify.send_signal(signal.SIGINT)
        _, said = classify.communicate(timeout=PATIENCE_S)
    assert (classify.returncode, said) == (-signal.SIGINT, b"classify: stopped.\n")


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        ("classify photos > /dev/full", 1, "The output can't be written: No space left on device."),
        ("classify photos/0.jpg > /dev/full", 1, "The output can't be written: No space left on device."),
        ("classify usage > /dev/full", 1, "The output can't be written: No space left on device."),
        ("classify photos -o /dev/full", 1, "/dev/full: No space left on device."),
        ("classify photos -o no/such/folder.jsonl", 1, "no/such/folder.jsonl: No such file or directory."),
        ("classify photos >&-", 1, "The output can't be written: Bad file descriptor."),
        ("classify photos | true; exit ${PIPESTATUS[0]}", 1, ""),
        ("classify no.jpg 2>&-", 1, ""),
        ("classify login <&-", 1, "This is no key, or it has a typing error; copy it once more, from imc_ on."),
        ("classify ''", 1, "The name of an image is empty; name a file or a folder."),
        ("classify", 2, "name an image or a folder, such as classify photo.jpg. See classify --help."),
        ("mkdir empty; classify empty", 0, "empty: there is no image file in this folder."),
    ],
)
def test_whatever_the_output_is_there_is_one_sentence(
    environment: dict[str, str], photos: Path, line: str, status: int, says: str
) -> None:
    done = in_shell(line, environment, photos.parent)
    assert (done.returncode, done.stdout) == (status, b"")
    assert done.stderr.decode() == (f"classify: {says}\n" if says else "")


def test_a_new_key_is_not_lost_if_the_output_can_not_be_written(
    environment: dict[str, str], new_user: NewUser, tmp_path: Path
) -> None:
    made = new_user("--scope", "keys", "--scope", "usage")
    environment |= {"IMAGE_API_KEY": made["key"], "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    rotate = f"classify keys rotate {made['key_id']}"
    closed = in_shell(f"{rotate} >&-", environment, tmp_path)
    assert (closed.returncode, closed.stderr) == (1, b"classify: The output can't be written: Bad file descriptor.\n")
    # Nothing was replaced. Now the disk is full.
    full = in_shell(f"ulimit -f 0; {rotate} > out", environment, tmp_path)
    told, why = full.stderr.decode().splitlines()
    assert (full.returncode, why) == (1, "classify: The output can't be written: File too large.")
    new = told.rpartition(" ")[2]
    # A stored key is replaced by the new one, though nobody reads the output.
    kept = f"unset IMAGE_API_KEY; classify login > login; classify keys rotate {new.split('_')[1]} | true"
    done = in_shell(f"echo {new} | {{ {kept}; classify usage > usage; }}", environment, tmp_path)
    assert done.returncode == 0, done.stderr


def test_results_go_to_a_device_too(environment: dict[str, str], photos: Path) -> None:
    done = in_shell("classify photos -o /dev/stdout", environment, photos.parent)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [json.loads(line)["file"] for line in done.stdout.splitlines()] == [f"photos/{n}.jpg" for n in range(3)]


def test_a_hyphen_is_standard_input_and_output(environment: dict[str, str], photos: Path) -> None:
    done = in_shell("classify - -o - < photos/0.jpg; ls", environment, photos.parent)
    assert done.stderr == b""
    line, *files = done.stdout.splitlines()
    assert json.loads(line)["predictions"][0]["label"] == "espresso"
    assert b"-" not in files


def test_a_file_may_have_any_name(environment: dict[str, str], photos: Path) -> None:
    """None of them sends a command to the terminal, breaks a line, or is sent twice."""
    for odd in (b"new\nline.jpg", b"\xff\xfe.jpg", b"\x1b[31m.jpg", b"\xc3\xbc.jpg"):
        (photos / os.fsdecode(odd)).write_bytes(COFFEE.read_bytes())
        (photos / os.fsdecode(b"broken" + odd)).write_bytes(b"no image")
    done = in_shell("classify photos -o out.jsonl", environment, photos.parent)
    assert done.returncode == 1
    said = done.stderr.decode().splitlines()
    assert len(said) == 4
    assert all(line.startswith("classify: photos/broken") and line.isprintable() for line in said)
    lines = [json.loads(line) for line in (photos.parent / "out.jsonl").read_text("utf-8").splitlines()]
    assert len({line["file"] for line in lines}) == 11
    again = in_shell("classify photos -o out.jsonl", environment, photos.parent)
    assert (again.returncode, again.stderr) == (0, b"")
    assert len((photos.parent / "out.jsonl").read_text("utf-8").splitlines()) == 11
    shown = in_shell("classify photos/*.jpg", environment, photos.parent)
    assert shown.stdout.decode().replace("\n", "").isprintable()


def test_a_terminal_without_unicode_gets_other_bars(environment: dict[str, str], photos: Path) -> None:
    environment["PYTHONIOENCODING"] = "ascii"
    done = in_shell("classify photos/0.jpg && classify usage", environment, photos.parent)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert done.stdout.startswith(b"espresso ")
    assert b"  ####" in done.stdout


def test_what_can_not_be_read_is_told_and_the_rest_is_classified(environment: dict[str, str], photos: Path) -> None:
    (photos / "private").mkdir()
    shutil.copy(COFFEE, photos / "private" / "1.jpg")
    for closed in (photos / "private", photos / "1.jpg"):
        closed.chmod(0)
    # Root may read everything, unless it gives that up.
    drop = "setpriv --bounding-set -dac_override,-dac_read_search " if os.geteuid() == 0 else ""
    done = in_shell(f"{drop}{' '.join(COMMAND)} photos", environment, photos.parent)
    (photos / "private").chmod(0o700)
    assert done.returncode == 1
    refused = ["photos/1.jpg: Permission denied.", "photos/private: Permission denied."]
    assert done.stderr.decode().splitlines() == [f"classify: {text}" for text in refused]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["error"]["detail"] for line in lines if "error" in line] == refused
    assert len([line for line in lines if "predictions" in line]) == 2


def test_links_that_go_round_and_hidden_files_are_left_out(photos: Path) -> None:
    (photos / "deep").mkdir()
    shutil.copy(COFFEE, photos / "deep" / "9.JPG")
    shutil.copy(COFFEE, photos / ".hidden.jpg")
    (photos / "deep" / "up").symlink_to(photos)
    (photos / "self.jpg").symlink_to("self.jpg")
    (photos / "nowhere.jpg").symlink_to("no-such.jpg")
    (photos / "linked.jpg").symlink_to("0.jpg")
    os.mkfifo(photos / "pipe.jpg")
    found = [str(path.relative_to(photos)) for path in images_in(photos)]
    assert found == ["0.jpg", "1.jpg", "2.jpg", "deep/9.JPG", "linked.jpg"]
