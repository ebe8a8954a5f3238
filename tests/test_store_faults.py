"""What is wrong with a store is told by its right name, to the operator in one line and to callers without insides."""

import asyncio
import contextlib
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from sqlalchemy import create_engine, make_url, text

from storage import faults
from storage.backup import backup
from storage.database import Database
from storage.errors import Refused, StorageUnavailable
from storage.limits import HitRequest
from storage.limits_redis import RedisLimits
from storage.migrate import migrate
from storage.policy import Limit
from storage.sqlite import SqliteTransactions, sqlite_engine
from storage.store import Store
from testing.callers import BODY
from testing.servers import Server
from testing.store_servers import Postgres, RedisServer
from tests.answers import assert_problem

SECRET = "sesame"


def auth(folder: Path, url: str, *command: str) -> subprocess.CompletedProcess[str]:
    """`python -m auth`, over that database, in this process."""
    return Server(folder / "it", folder, CLASSIFIER_DATABASE_URL=url).auth(*(command or ("list",)))


def assert_told(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("ERROR: ")
    assert said in line, line
    assert SECRET not in line


def of_postgres(postgres: Postgres, **other: Any) -> str:
    return make_url(postgres.new_database()).set(**other).render_as_string(hide_password=False)


def test_postgresql_is_told_by_what_it_says(tmp_path: Path, postgres: Postgres) -> None:
    cases = {
        of_postgres(postgres, database="nothing"): "no such database",
        of_postgres(postgres, username="nobody", password=SECRET): "refuses the user or the password",
        f"postgresql://it:{SECRET}@127.0.0.1:1/it": "can't be reached",
        f"postgresql://it:{SECRET}@no.such.host.invalid/it": "host is not known",
        postgres.new_database() + "&sslmode=wild": "how it is connected to",
        postgres.new_database() + "&options=-cno_such_setting%3D1": "how it is connected to",
        postgres.new_database() + "&options=-cdefault_transaction_read_only%3Don": "can only be read",
        postgres.new_database() + "&options=-csearch_path%3Dnowhere": "lacks tables",
    }
    for number, (url, said) in enumerate(cases.items()):
        assert_told(auth(tmp_path / str(number), url), said)


def test_a_schema_of_ones_own_is_used(postgres: Postgres) -> None:
    """Options in the URL override those of the service; the others of the service stay in force."""
    url = postgres.new_database()
    admin = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with admin.begin() as connection:
        connection.execute(text("CREATE SCHEMA app"))
    of_app = url + "&options=-csearch_path%3Dapp"
    migrate(of_app)
    database = Database(of_app)
    assert database.ask(lambda connection: connection.scalar(text("SHOW statement_timeout"))) == "5s"
    database.close()
    with admin.begin() as connection:
        found = connection.scalars(
            text("SELECT table_schema FROM information_schema.tables WHERE table_name = 'users'")
        )
        assert list(found) == ["app"]
    admin.dispose()


def test_no_connection_left_is_told(postgres: Postgres) -> None:
    admin = create_engine(postgres.new_database().replace("postgresql://", "postgresql+psycopg://"))
    with admin.begin() as connection:
        connection.execute(text("CREATE ROLE lonely LOGIN CONNECTION LIMIT 0"))
    url = of_postgres(postgres, username="lonely")
    with pytest.raises(StorageUnavailable, match="no connection left") as told:
        Database(url).ask(lambda connection: connection.execute(text("SELECT 1")))
    assert told.value.caller == faults.TOO_MANY.caller
    admin.dispose()


def test_a_user_without_rights_is_told(tmp_path: Path, postgres: Postgres) -> None:
    admin = create_engine(postgres.new_database().replace("postgresql://", "postgresql+psycopg://"))
    with admin.begin() as connection:
        connection.execute(text("CREATE ROLE guest LOGIN"))
    assert_told(auth(tmp_path, of_postgres(postgres, username="guest")), "may not write there")
    admin.dispose()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("no database", "no SQLite database"),
        ("folder", "can't be opened"),
        ("under a file", "can't be opened"),
        ("later version", "later version"),
    ],
)
def test_sqlite_is_told_by_what_lies_there(tmp_path: Path, kind: str, said: str) -> None:
    path = tmp_path / "it.db"
    if kind == "no database":
        path.write_bytes(b"no database at all, but long enough to be read as one" * 100)
    elif kind == "folder":
        path.mkdir()
    elif kind == "under a file":
        path.write_text("")
        path = path / "it.db"
    else:
        migrate(f"sqlite:///{path}")
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.close()
    assert_told(auth(tmp_path, f"sqlite:///{path}"), said)


@pytest.fixture
def locked(
    strained: Server, new_user: Callable[..., dict[str, Any]]
) -> Iterator[tuple[Server, str, sqlite3.Connection]]:
    """A server, a key, and another program's connection to its database."""
    key = new_user("--limit", "1000/day")["key"]
    with contextlib.closing(sqlite3.connect(strained.folder / "classifier.db", isolation_level=None)) as connection:
        yield strained, key, connection


def test_a_database_that_another_program_has_locked_is_told_as_such(
    locked: tuple[Server, str, sqlite3.Connection],
) -> None:
    server, key, other = locked
    with server.client(key) as client:
        assert client.post("/v1/classify", json=BODY).status_code == 200
        other.execute("BEGIN IMMEDIATE")
        first_s, *later_s = [_waits_until_refused(client) for _ in range(4)]
        # Once one has waited in vain, the others wait less.
        assert min(later_s) < first_s / 2
        other.execute("ROLLBACK")
        assert client.post("/v1/classify", json=BODY).status_code == 200
    assert "The database is locked by another program" in server.log.read_text()


def _waits_until_refused(client: httpx.Client) -> float:
    """Send a request that is refused since the database is locked; return how long that took, seconds."""
    began = time.monotonic()
    refused = client.post("/v1/classify", json=BODY)
    assert "locked by another program" in assert_problem(refused, 503)["detail"]
    return time.monotonic() - began


def test_redis_is_told_by_what_it_says(redis: RedisServer) -> None:
    admin = Redis.from_url(redis.url)

    def said(url: str) -> str:
        async def ask() -> str:
            limits = RedisLimits(url)
            try:
                await limits.hit(HitRequest("usr_it", (Limit(5, 60),), 1, None))
            except StorageUnavailable as error:
                return str(error)
            finally:
                await limits.close()
            return "taken"

        return asyncio.run(ask())

    assert said(redis.url) == "taken"
    admin.execute_command(  # type: ignore[no-untyped-call]
        "ACL", "SETUSER", "reader", "on", f">{SECRET}", "~*", "+@read"
    )
    socket = redis.url.removeprefix("unix://")
    assert "may not run scripts" in said(f"unix://reader:{SECRET}@{socket}")
    assert "refuses the user" in said(f"unix://reader:wrong@{socket}")
    admin.config_set("maxmemory", "1")
    try:
        assert "out of memory" in said(redis.url)
    finally:
        admin.config_set("maxmemory", "0")
    assert "can't be reached" in said("redis://127.0.0.1:1")
    admin.close()


def of_a_full_disk(name: str) -> sqlite3.OperationalError:
    """An error as SQLite raises it: a disk that is full needs a file system of its own."""
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize("name", ["SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"])
def test_a_full_disk_is_told(name: str) -> None:
    assert str(faults.sqlite_error(of_a_full_disk(name))) == "The database's disk is full; free some space."


def test_a_backup_to_a_full_disk_does_not_blame_the_disk_of_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Connection(sqlite3.Connection):
        def execute(self, *_: Any) -> sqlite3.Cursor:
            raise of_a_full_disk("SQLITE_FULL")

    migrate(f"sqlite:///{tmp_path}/it.db")
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Connection))
    with pytest.raises(Refused, match="the disk that it goes to is full"):
        backup(f"sqlite:///{tmp_path}/it.db", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_redis_that_deletes_hits_when_it_is_full_is_warned_of_once(
    redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask_twice() -> None:
        store = Store(f"sqlite:///{tmp_path}/it.db", redis.url)
        await store.ping()
        await store.ping()
        await store.close()

    (tmp_path / "it.db").touch()
    with Redis.from_url(redis.url) as admin:
        said = []
        for policy, most in (("allkeys-lru", "0"), ("noeviction", "100mb"), ("volatile-lru", "100mb")):
            admin.config_set("maxmemory-policy", policy)
            admin.config_set("maxmemory", most)
            asyncio.run(ask_twice())
            said.append([record.getMessage() for record in caplog.records if "noeviction" in record.getMessage()])
        admin.config_set("maxmemory-policy", "noeviction")
        admin.config_set("maxmemory", "0")
    assert said[:2] == [[], []]
    [warning] = said[2]
    assert "maxmemory-policy volatile-lru" in warning


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_keys_that_are_created_at_once_are_all_created(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """Also where the tables are not there yet, and all are for one user."""
    url = request.getfixturevalue("postgres").new_database() if kind == "postgresql" else f"sqlite:///{tmp_path}/it.db"
    servers = [Server(tmp_path / str(number), tmp_path, CLASSIFIER_DATABASE_URL=url) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda server: server.auth_process("create", "--email", "one@example.org"), servers))
    assert [one.returncode for one in done] == [0] * 4, [one.stderr for one in done]
    assert servers[0].auth("list").stdout.count("one@example.org") == 4


def test_a_lock_that_is_soon_let_go_of_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/it.db"
    migrate(url)
    # It would wait longer than a machine can be late.
    longest_s = 120
    transactions = SqliteTransactions(sqlite_engine(url, (f"busy_timeout={longest_s * 1000}",)), longest_s * 1000)
    other = sqlite3.connect(tmp_path / "it.db", isolation_level=None, check_same_thread=False)
    with transactions.begin():
        pass
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(1.0, lambda: other.execute("ROLLBACK")).start()
    began = time.monotonic()
    with transactions.begin():
        pass
    assert 0.5 < time.monotonic() - began < longest_s / 2
    other.close()
    transactions.close()
