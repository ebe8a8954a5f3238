"""The address that a server is to listen on, checked before it starts: every one of the machine, and no other."""

import subprocess
import sys
from pathlib import Path

import pytest

from testing.ports import free_port
from testing.servers import PROJECT, inherited


def checked(host: str, port: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runtime.port", host, port]
    environment = {**inherited(), "PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        ("127.0.0.1", "port", "PORT must be a number"),
        ("127.0.0.1", "99999", "PORT must be a number"),
        ("no.such.host.invalid", "3999", "no address or name"),
        ("192.0.2.1", "3999", "has no address 192.0.2.1"),
    ],
)
def test_where_nothing_can_listen_is_told_by_its_reason(tmp_path: Path, host: str, port: str, said: str) -> None:
    done = checked(host, port, tmp_path)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert said in line


@pytest.mark.parametrize("host", ["::", "::1", "localhost", "0.0.0.0", "127.0.0.1"])
def test_every_address_of_the_machine_will_do(tmp_path: Path, host: str) -> None:
    assert checked(host, str(free_port()), tmp_path).returncode == 0
