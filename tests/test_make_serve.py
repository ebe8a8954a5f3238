"""`make serve` and the README: a developer's first minutes, command by command."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from configs.settings import PREFIX, Settings
from model.prepared import STAND_IN_NAME
from testing.photographs import COFFEE
from testing.ports import free_port
from testing.servers import ENDS_WITHIN_S, PROJECT, READY_WITHIN_S, is_ready
from testing.waiting import wait_until

README = (PROJECT / "README.md").read_text("utf-8")


class MadeServer:
    """`make serve`, as a person types it, on a port and in a folder of its own."""

    def __init__(self, folder: Path, model_store: Path) -> None:
        home = folder / "bentoml"
        home.mkdir(parents=True)
        (home / "models").symlink_to(model_store)
        self.port = free_port()
        self.project = PROJECT
        self.log = folder / "make-serve.log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLASSIFIER_", "BENTOML_"))}
        self.environment = {
            **kept,
            "PORT": str(self.port),
            "BENTOML_HOME": str(home),
            "CLASSIFIER_DATABASE_URL": f"sqlite:///{folder}/classifier.db",
            "CLASSIFIER_OFFLINE_MODEL": "only",
        }

    def start(self) -> str:
        """Start, wait until it is ready; what was printed until then."""
        already = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["make", "serve"],
                cwd=self.project,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        url = f"http://127.0.0.1:{self.port}"
        wait_until(lambda: self.process.poll() is not None or is_ready(url), self.log.read_text, READY_WITHIN_S)
        assert self.process.poll() is None, self.log.read_text()
        return self.log.read_text()[already:]

    def stop(self) -> None:
        """Ctrl+C."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(ENDS_WITHIN_S)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model_store: Path) -> Iterator[tuple[MadeServer, str]]:
    server = MadeServer(tmp_path_factory.mktemp("make-serve") / "it", model_store)
    printed = server.start()
    [key] = re.findall(r"imc_\w+", printed)
    yield server, key
    server.stop()


# Commands of the README that are run elsewhere, or nowhere, by what they begin with.
RUN_ELSEWHERE = {
    'git clone "$REPOSITORY"': "by CI, which clones the project; and `make serve` by the fixture above",
    "CLASSIFIER_MODEL=google/": "by test_model_sources.py, with a hub and checkpoints of its own",
    "make tune": "by test_tuning.py",
    "pip install ./client": "by test_client_package.py and test_client_commands.py",
    "make quantize": "by test_quantize.py",
    "make container": "by test_container.py",
    "CLASSIFIER_DATABASE_URL=postgresql": "by test_outages.py and others, with a PostgreSQL and a Redis of their own",
    "make loadtest": "by test_loadtest.py",
}


def commands(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


def run(made: tuple[MadeServer, str], folder: Path, interpreter: list[str], text: str) -> str:
    server, key = made
    for name in ("examples", ".venv"):
        if not (folder / name).exists():
            (folder / name).symlink_to(PROJECT / name)
    text = re.sub(r"(localhost|127\.0\.0\.1):3000", rf"127.0.0.1:{server.port}", text).replace("imc_...", key)
    environment = {**server.environment, "KEY": key, "PYTHONPATH": f"{PROJECT}{os.pathsep}{PROJECT / 'client' / 'src'}"}
    done = subprocess.run(
        [*interpreter, text], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_of_the_readme_works(made: tuple[MadeServer, str], tmp_path: Path) -> None:
    run_here = [block for block in commands("sh") if not block.startswith(tuple(RUN_ELSEWHERE))]
    answers = [run(made, tmp_path, ["sh", "-eu", "-c"], block) for block in run_here]
    first, v1, read, buckets, v2, retried, refused, keys, kept = answers
    assert '"predictions":[{"label":"espresso"' in first
    assert '"predictions":[{"label":"espresso"' in v1
    assert '"success_rate":100.0' in read
    assert '"status":"loaded"' in read
    assert '"bucket":"hour"' in buckets
    assert '"name":"default"' in buckets
    assert '"image":{"width":750,"height":500,"format":"JPEG"}' in v2
    assert '"results":[{"predictions":[{"label":"espresso"' in v2
    assert '"stand_in":true' in v2
    assert '"predictions":[{"label":"espresso"' in retried
    assert "not valid base64" in refused
    assert "prometheus@example.org" in keys
    assert "imc_" in kept
    assert (tmp_path / "backup.db").exists()


def test_what_is_run_elsewhere_is_still_in_the_readme() -> None:
    for beginning in RUN_ELSEWHERE:
        assert sum(block.startswith(beginning) for block in commands("sh")) == 1, beginning


def test_the_python_of_the_readme_works(made: tuple[MadeServer, str], tmp_path: Path) -> None:
    programs = commands("python")
    assert len(programs) == 3
    for program in programs:
        served = program.replace("microsoft/resnet-18", STAND_IN_NAME)
        assert "espresso" in run(made, tmp_path, [str(PROJECT / ".venv/bin/python"), "-c"], served)


def test_a_second_start_keeps_the_key_and_prints_none(made: tuple[MadeServer, str]) -> None:
    server, key = made
    server.stop()
    printed = server.start()
    assert "imc_" not in printed
    answer = httpx.get(f"http://127.0.0.1:{server.port}/v1/usage", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200


def test_the_readmes_settings_are_the_settings() -> None:
    rows = dict(re.findall(rf"^\| `({PREFIX}\w+)` \| `?([^`|]*?)`? \|", README, re.MULTILINE))
    # (The hub's own variable is no setting of this project's.)
    fields = {name: field for name, field in Settings.model_fields.items() if name != "hf_token"}
    assert rows == {PREFIX + name.upper(): str(field.default or "none") for name, field in fields.items()}


def test_the_readmes_files_and_targets_exist() -> None:
    for name in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (PROJECT / name).exists(), name
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", README)) <= targets


def test_a_port_that_is_taken_is_told_in_one_line(made: tuple[MadeServer, str]) -> None:
    done = subprocess.run(
        ["make", "serve"], cwd=PROJECT, env=made[0].environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "PORT=" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_checkout_may_lie_in_any_folder(tmp_path: Path, model_store: Path) -> None:
    """One with spaces, quotes, a percent sign and letters of any alphabet; everything it makes lies in it."""
    checkout = tmp_path / "a b'c" / "ü%20 #x" / "it"
    server = MadeServer(tmp_path / "elsewhere", model_store)
    server.project = checkout
    for name in ("BENTOML_HOME", "CLASSIFIER_DATABASE_URL"):
        del server.environment[name]
    shutil.copytree(PROJECT, checkout, ignore=shutil.ignore_patterns(".*", "var", "__pycache__", "tests"))
    (checkout / ".venv").mkdir()
    for path in (PROJECT / ".venv").iterdir():
        (checkout / ".venv" / path.name).symlink_to(path)
    for lock in (checkout / "requirements").iterdir():
        os.utime(lock, (0, 0))
    (checkout / "var" / "bentoml").mkdir(parents=True)
    (checkout / "var" / "bentoml" / "models").symlink_to(model_store)
    before = {*tmp_path.iterdir(), *tmp_path.parent.iterdir()}
    [key] = re.findall(r"imc_\w+", server.start())
    try:
        with COFFEE.open("rb") as file:
            answer = httpx.post(
                f"http://127.0.0.1:{server.port}/v2/classify",
                content=file,
                headers={"Authorization": f"Bearer {key}", "Content-Type": "image/png"},
            )
    finally:
        server.stop()
    assert answer.json()["predictions"][0]["label"] == "espresso"
    assert (checkout / "var" / "classifier.db").exists()
    assert {*tmp_path.iterdir(), *tmp_path.parent.iterdir()} == before


@pytest.mark.parametrize(("host", "reached_at"), [("::", "[::1]"), ("localhost", "127.0.0.1")])
def test_an_ipv6_address_and_a_name_will_do(tmp_path: Path, model_store: Path, host: str, reached_at: str) -> None:
    server = MadeServer(tmp_path, model_store)
    server.environment["HOST"] = host
    server.start()
    try:
        assert httpx.get(f"http://{reached_at}:{server.port}/livez").status_code == 200
    finally:
        server.stop()
