"""What a developer does beside `make serve`: the development server, and commands of make with a wrong argument."""

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testing.photographs import COFFEE, as_base64
from testing.servers import PROJECT, Server
from testing.waiting import wait_until

BODY = {"image": as_base64(COFFEE.read_bytes())}
SHIPPED = ("service.py", "bentofile.yaml", "requirements")
ROOMS = ("api", "auth", "configs", "inference", "model", "pages", "runtime", "storage", "web")


def copy_of_the_project(folder: Path) -> Path:
    copy = folder / "project"
    copy.mkdir()
    for name in (*SHIPPED, *ROOMS):
        origin = PROJECT / name
        if origin.is_dir():
            shutil.copytree(origin, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, copy / name)
    return copy


def test_make_lets_python_store_what_it_compiles() -> None:
    """Many containers forbid it. Each process of a server would then compile all modules once more."""
    command = ["make", "--no-print-directory", "--eval", "show: ; @env", "show"]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    shown = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True).stdout
    assert "BENTOML_HOME=" in shown
    assert "PYTHONDONTWRITEBYTECODE" not in shown


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["container", "VARIANT=nope"], "VARIANT is serve or gpu"),
        (["container", "PATH={tools}"], "buildah is not installed"),
        (["test", "PROCESSES=many"], "-n/--numprocesses: invalid"),
    ],
)
def test_make_says_at_once_what_it_cannot_do(command: list[str], said: str, tmp_path: Path) -> None:
    """A Bento takes minutes, and so do the tests that run alone."""
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    words = ["make", "--no-print-directory", *(word.format(tools=tmp_path) for word in command)]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_the_development_server_answers_and_reloads(tmp_path: Path, model_store: Path) -> None:
    project = copy_of_the_project(tmp_path)
    # Beside the code, as it is by default: what the server writes must not reload it.
    database = f"sqlite:///{project}/var/classifier.db"
    server = Server(tmp_path / "it", model_store, CLASSIFIER_DATABASE_URL=database)
    server.project = project
    server.start("--development", "--reload")
    try:
        key = server.create_key("dev@example.org", "--limit", "1000/minute")["key"]
        with server.client(key) as client:
            answer = client.post("/v1/classify", json=BODY)
            assert answer.json()["predictions"][0]["label"] == "espresso"
            with ThreadPoolExecutor(8) as pool:
                at_once = list(pool.map(lambda _: client.post("/v1/classify", json=BODY).status_code, range(24)))
            assert at_once == [200] * 24
            assert "Reloading" not in server.log.read_text()

            os.utime(project / "api" / "schemas.py")
            wait_until(lambda: "Reloading" in server.log.read_text(), "the server reloads")
            time.sleep(1)
            server.wait_until_ready()
            assert client.post("/v1/classify", json=BODY).status_code == 200
    finally:
        server.stop()
