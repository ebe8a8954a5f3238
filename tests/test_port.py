"""The address that a server is to listen on, checked before it starts: every one of the machine, and no other."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from testing.ports import free_port
from testing.servers import PROJECT, Server, inherited
from testing.waiting import PATIENCE_S


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


@pytest.mark.parametrize("program", ["bentoml serve", "api.serve"])
def test_a_port_in_use_is_told_in_one_line(tmp_path: Path, model_store: Path, program: str) -> None:
    server = Server(tmp_path / "it", model_store)
    arguments = ["bentoml", "serve", "service:ImageClassifier"] if program == "bentoml serve" else [program]
    with socket.create_server(("127.0.0.1", server.port)):
        done = subprocess.run(
            [sys.executable, "-m", *arguments, "--port", str(server.port)],
            cwd=PROJECT,
            env=server.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    [line] = [line for line in done.stderr.splitlines() if "ERROR" in line]
    assert line.startswith(f"ERROR: Port {server.port} of 127.0.0.1 is in use; choose another with ")
