"""A PostgreSQL server that archives its write-ahead log, and one that is recovered from a base backup and that log."""

import shutil
import tempfile
import time
from pathlib import Path

import psycopg

from testing.store_servers import RESTARTS_WITHIN_S, Postgres


class ArchivedPostgres:
    """A server with an archive, and what is recovered from it.

    Attributes:
        server: the server.
        url: the URL of an empty database on it.
    """

    def __init__(self) -> None:
        self.server = Postgres(waits_for_disk=False)
        self.url = self.server.new_database()
        # Not below pytest's folders: see `Postgres`.
        self._folder = Path(tempfile.mkdtemp(prefix="archive-", dir="/tmp"))
        self._archive, self._base = self._folder / "wal", self._folder / "base"
        self._archive.mkdir()
        if self.server.system_user is not None:
            for path in (self._folder, self._archive):
                shutil.chown(path, self.server.system_user)
        self.execute("ALTER SYSTEM SET archive_mode = on")
        self.execute(f"ALTER SYSTEM SET archive_command = 'test ! -f {self._archive}/%f && cp %p {self._archive}/%f'")
        self.server.stop()
        self.server.start()

    def execute(self, statement: str) -> str:
        """Run a statement, and return the first value that it answers, as text; empty if it answers nothing."""
        return _execute(self.url, statement)

    def take_base_backup(self) -> None:
        """Copy all files of the server while it runs, and what is needed of its log."""
        folder = ("--pgdata", str(self._base), "--host", str(self.server.folder), "--username", "postgres")
        self.server.run("pg_basebackup", *folder, "--checkpoint=fast", "--wal-method=none")

    def archive_now(self) -> None:
        """End the current segment of the log, as `archive_timeout` does, and wait until it is in the archive."""
        segment = self.execute("SELECT pg_walfile_name(pg_switch_wal())")
        give_up = time.monotonic() + RESTARTS_WITHIN_S
        while not (self._archive / segment).exists():
            assert time.monotonic() < give_up
            time.sleep(0.02)

    def recover(self, until: str | None = None) -> str:
        """Start a server from the base backup and the archive, and return the URL of its database once it can write.

        Done once: the base backup is the data of the recovered server.

        Args:
            until: recover what was committed until then, as PostgreSQL writes times; None: all that is archived.
        """
        settings = [f"restore_command = 'cp {self._archive}/%f %p'", "archive_mode = off"]
        if until is not None:
            settings += [f"recovery_target_time = '{until}'", "recovery_target_action = promote"]
        with (self._base / "postgresql.auto.conf").open("a") as file:
            file.write("\n".join(["", *settings, ""]))
        signal = self._base / "recovery.signal"
        signal.touch()
        if self.server.system_user is not None:
            shutil.chown(signal, self.server.system_user)
        # Not in the folder of the data: that holds the lock of the first server's socket.
        options = ("-t", str(RESTARTS_WITHIN_S), "-o", f'-h "" -k {self._folder}', "-l", f"{self._folder}/log")
        self._control("start", *options)
        url = self.url.replace(str(self.server.folder), str(self._folder))
        while _execute(url, "SELECT pg_is_in_recovery()") == "True":
            time.sleep(0.02)
        return url

    def close(self) -> None:
        """Stop all servers, and delete their data and the archive."""
        if (self._base / "postmaster.pid").exists():
            self._control("stop", "-m", "immediate")
        self.server.close()
        shutil.rmtree(self._folder)

    def _control(self, *arguments: str) -> None:
        self.server.run("pg_ctl", "-w", "-D", str(self._base), *arguments)


def _execute(url: str, statement: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
    return "" if row is None else str(row[0])
