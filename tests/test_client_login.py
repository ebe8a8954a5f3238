"""`classify login` with the package keyring and whatever keyring the system has, or has not."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testing.servers import PROJECT, Server, inherited

# Keyrings of systems that no test machine has.
BACKENDS = """
import json, os, pathlib
from keyring import errors
from keyring.backend import KeyringBackend

class Working(KeyringBackend):
    priority = 9
    file = pathlib.Path(os.environ["XDG_CONFIG_HOME"], "keyring.json")

    def kept(self):
        return json.loads(self.file.read_text()) if self.file.exists() else {}

    def get_password(self, service, user):
        return self.kept().get(service + user)

    def set_password(self, service, user, password):
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(json.dumps({service + user: password}))

    def delete_password(self, service, user):
        self.file.write_text("{}")

class Locked(Working):
    def get_password(self, service, user):
        raise errors.KeyringLocked("Failed to unlock the collection!")

    def set_password(self, service, user, password):
        raise errors.KeyringLocked("Failed to unlock the collection!")

    delete_password = get_password

class Broken(Working):
    def get_password(self, service, user):
        raise RuntimeError("D-Bus is gone")

    def set_password(self, service, user, password):
        raise RuntimeError("D-Bus is gone")

class Forgetful(Working):
    def set_password(self, service, user, password):
        pass
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def key(new_user: Callable[..., dict[str, Any]]) -> str:
    return str(new_user()["key"])


@pytest.fixture
def classify(server: Server, tmp_path: Path) -> Run:
    """Runs `classify` with a keyring; returns its exit status, and what it printed."""
    (tmp_path / "backends.py").write_text(BACKENDS)

    def run(keyring: str, *arguments: str, typed: str = "", within: str = "") -> tuple[int, str, str]:
        environment = {
            **inherited(),
            "PYTHONPATH": f"{PROJECT / 'client' / 'src'}{os.pathsep}{tmp_path}",
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
            "IMAGE_API_URL": server.url,
            "PYTHON_KEYRING_BACKEND": keyring,
        }
        done = subprocess.run(
            ["sh", "-c", f'{within} exec "$@"', "sh", sys.executable, "-m", "classify_command", *arguments],
            env=environment,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize(
    "keyring",
    [
        "keyring.backends.fail.Keyring",
        "keyring.backends.null.Keyring",
        "backends.Locked",
        "backends.Broken",
        "backends.Forgetful",
        "no.such.Backend",
    ],
)
def test_without_a_keyring_that_takes_it_the_key_is_in_a_file_of_its_owner(
    classify: Run, key: str, tmp_path: Path, keyring: str
) -> None:
    file = tmp_path / "config" / "image-classifier" / "login.json"
    status, out, err = classify(keyring, "login", typed=key)
    assert (status, err) == (0, "")
    assert f" is in {file}.\n" in out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert classify(keyring, "usage")[::2] == (0, "")
    assert classify(keyring, "logout") == (0, "The key is forgotten. It stays valid until it is revoked.\n", "")
    assert not file.exists()


def test_a_disk_that_can_not_take_the_key_is_told_with_the_file(classify: Run, key: str, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "image-classifier"
    folder.mkdir(parents=True)
    (folder / "login.json").write_text("what was there")
    status, out, err = classify("keyring.backends.null.Keyring", "login", typed=key, within="ulimit -f 0;")
    assert (status != 0, out) == (True, "")
    assert err == f"classify: {folder / 'login.json'}: File too large.\n"
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("login.json", "what was there")]


def test_a_key_in_the_keyring_is_in_no_file(classify: Run, key: str, tmp_path: Path) -> None:
    status, out, err = classify("backends.Working", "login", typed=key)
    assert (status, err) == (0, "")
    assert "is in the system's keyring (" in out
    login = tmp_path / "config" / "image-classifier" / "login.json"
    assert key not in login.read_text()
    assert classify("backends.Working", "usage")[::2] == (0, "")

    # Later it is locked, or the package is gone.
    locked = "classify: The system's keyring can't be read; unlock it and try again, or run classify login.\n"
    assert classify("backends.Locked", "usage") == (1, "", locked)
    kept = "classify: The system's keyring can't be changed, and still holds the key; unlock it and try again.\n"
    assert classify("backends.Locked", "logout") == (1, "", kept)
    assert login.exists()
    gone = "classify: The system's keyring has no key for the server; run classify login again.\n"
    assert classify("keyring.backends.null.Keyring", "usage") == (1, "", gone)

    assert classify("backends.Working", "logout")[0] == 0
    assert key not in (tmp_path / "config" / "keyring.json").read_text()
    assert not login.exists()
