"""PostgreSQL behind a pooler that lends connections by the transaction, as pgbouncer does."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from storage.database import Database
from storage.migrate import migrate
from testing.callers import BODY
from testing.ports import free_port, is_listening
from testing.servers import running
from testing.store_servers import Postgres
from testing.waiting import wait_until

# PostgreSQL's protocol, message formats: a request for TLS, and an error that ends the connection.
_TLS = struct.pack("!II", 8, 80877103)
_FIELDS = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
_REFUSED = b"E" + struct.pack("!I", 4 + len(_FIELDS)) + _FIELDS


class Refusing:
    """Passes connections on to PostgreSQL's socket, but for those that set options as they start."""

    def __init__(self, socket_path: str) -> None:
        self._path = socket_path
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.refused = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                threading.Thread(target=self._answer, args=(caller,), daemon=True).start()

    def _answer(self, caller: socket.socket) -> None:
        start = caller.recv(65536)
        if start == _TLS:
            caller.sendall(b"N")
            start = caller.recv(65536)
        if b"options\0" in start:
            self.refused += 1
            caller.sendall(_REFUSED)
            return caller.close()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._path)
        server.sendall(start)
        threading.Thread(target=_copy, args=(server, caller), daemon=True).start()
        _copy(caller, server)


def _copy(come_from: socket.socket, go_to: socket.socket) -> None:
    with contextlib.suppress(OSError), come_from, go_to:
        while data := come_from.recv(65536):
            go_to.sendall(data)


def socket_folder(postgres: Postgres) -> str:
    return str(make_url(postgres.new_database()).query["host"])


@pytest.fixture
def refusing(postgres: Postgres) -> Iterator[Refusing]:
    proxy = Refusing(f"{socket_folder(postgres)}/.s.PGSQL.5432")
    yield proxy
    proxy.close()


@pytest.fixture(params=["", "ignore_startup_parameters = options\n"], ids=["as it comes", "options are passed over"])
def pgbouncer(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[int]:
    """The port of pgbouncer, in transaction mode."""
    if shutil.which("pgbouncer") is None:
        pytest.skip("no pgbouncer on this machine, and no wheel has it; the test above refuses as it does")
    folder, port = Path(socket_folder(postgres)) / f"pgbouncer-{time.monotonic_ns()}", free_port()
    folder.mkdir()
    (folder / "users.txt").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={folder.parent} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = any\nauth_file = {folder}/users.txt\n"
        f"pool_mode = transaction\ndefault_pool_size = 2\n{request.param}"
    )
    owner = folder.parent.owner()
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, owner)
    command = ["pgbouncer", "-q", *(["-u", owner] if os.getuid() == 0 else []), str(folder / "pgbouncer.ini")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: is_listening(port), "pgbouncer listens")
        yield port
        process.terminate()


def through(port: int, postgres: Postgres) -> str:
    return f"postgresql://postgres@127.0.0.1:{port}/{make_url(postgres.new_database()).database}"


def assert_it_serves(url: str) -> None:
    migrate(url)
    database = Database(url)
    for number in range(20):
        # (Statements are prepared at the sixth time, where they may be.)
        asked = text("SELECT CAST(:number AS int), current_setting('statement_timeout')")
        answer = database.ask(lambda connection, n=number, q=asked: connection.execute(q, {"number": n}).one())  # type: ignore[misc]
        assert tuple(answer) == (number, "5s")
    assert database.ask(lambda connection: connection.scalar(text("SELECT count(*) FROM pg_prepared_statements"))) == 0
    database.close()


def test_a_pooler_that_refuses_options_is_used_without_them(refusing: Refusing, postgres: Postgres) -> None:
    assert_it_serves(through(refusing.port, postgres))
    assert refusing.refused > 0


def test_pgbouncer_lends_by_the_transaction(pgbouncer: int, postgres: Postgres) -> None:
    assert_it_serves(through(pgbouncer, postgres))


def test_the_service_answers_through_it(
    refusing: Refusing, postgres: Postgres, tmp_path: Path, model_store: Path
) -> None:
    url = through(refusing.port, postgres)
    with running(tmp_path / "it", model_store, CLASSIFIER_DATABASE_URL=url) as server:
        key = server.create_key("pooled@example.org", "--limit", "20/day")["key"]
        with server.client(key) as client:
            assert [client.post("/v1/classify", json=BODY).status_code for _ in range(21)] == [200] * 20 + [429]
            assert client.get("/v1/usage").json()["total_requests"] == 20
