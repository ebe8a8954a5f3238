"""The nginx of `deploy/` on loopback, and replicas that only listen, to see what nginx sends them."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from testing.ports import free_port, is_listening
from testing.servers import PROJECT
from testing.waiting import wait_until

SHIPPED = PROJECT / "deploy" / "nginx"
NGINX = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")


def launch(conf: Path, port: int, **options: Any) -> "subprocess.Popen[bytes]":
    """nginx with that file, in whose folder it writes; it listens on the port when this returns."""
    assert NGINX is not None
    command = [NGINX, "-e", "stderr", "-p", str(conf.parent), "-c", str(conf)]
    process = subprocess.Popen(command, **options)
    try:
        wait_until(lambda: is_listening(port), "nginx listens")
    except AssertionError:
        process.kill()
        raise
    return process


def copied_with_certificate(folder: Path) -> Path:
    """A new folder with the files of `deploy/nginx`, and a certificate for localhost."""
    shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns("tls"))
    (folder / "tls").mkdir()
    made = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem"
    named = "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*made.split(), *named.split()], cwd=folder / "tls", check=True, capture_output=True)
    return folder


class Nginx:
    """`deploy/nginx/loopback.conf` as it is shipped, but for its ports, before replicas on those ports.

    Args:
        folder: where it writes, a new one.
        ports: of the replicas, all on loopback.
    """

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self.folder = Path(shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns("tls")))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        conf = folder / "loopback.conf"
        numbers = iter([*ports, self.port])
        written = re.sub(r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{next(numbers)}", conf.read_text())
        assert next(numbers, None) is None, "as many replicas as are shipped"
        # Started by root its workers would be "nobody", who may not write here.
        conf.write_text("user root;\n" + written if os.geteuid() == 0 else written)
        with (folder / "access.log").open("wb") as log:
            self.process = launch(conf, self.port, stdout=log)

    def log(self) -> list[dict[str, Any]]:
        """Its access log; a request is in it once its connection is done with it."""
        return [json.loads(line) for line in (self.folder / "access.log").read_text().splitlines()]

    def memory_mb(self) -> float:
        """What its processes hold for themselves."""
        return sum(process.memory_full_info().uss for process in self._processes()) / 1e6

    def files(self) -> list[Path]:
        """What it keeps of bodies and answers in files; it unlinks them as soon as they are open."""
        opened = [link for one in self._processes() for link in Path(f"/proc/{one.pid}/fd").iterdir()]
        targets = [link.readlink() for link in opened if link.is_symlink()]
        return [target for target in targets if target.is_relative_to(self.folder) and target.suffix != ".log"]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()

    def _processes(self) -> list[psutil.Process]:
        master = psutil.Process(self.process.pid)
        return [master, *master.children()]


class ListeningReplica:
    """Takes connections and does one thing with each, once it has the headers.

    Args:
        act: gets the connection, and closes it or keeps it.
    """

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self.heads: list[bytes] = []
        self._act = act
        self._kept: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        # To close alone would leave the thread that accepts waiting. It may have been closed before.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._kept:
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._kept.append(connection)
            head = b""
            while b"\r\n\r\n" not in head:
                received = connection.recv(65536)
                if not received:
                    break
                head += received
            self.heads.append(head)
            self._act(connection)


def keep(_connection: socket.socket) -> None:
    """Never answers."""


def answer(connection: socket.socket) -> None:
    """Answers, takes in what is left of the body, and closes."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    # The test may end, and close the connection, meanwhile.
    with contextlib.suppress(OSError):
        while connection.recv(65536):
            pass
    connection.close()


def break_off(connection: socket.socket) -> None:
    """Resets the connection, as the kernel does for a process that was killed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    connection.close()
