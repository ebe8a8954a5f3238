"""The drill: PostgreSQL is brought back to a moment before an accident, and after its machine was lost."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.clock import unix_us
from storage.store import Store
from storage.usage import UsageRow
from testing.archived_postgres import ArchivedPostgres
from testing.servers import Server
from tests.raw_sql import RawSql

IN_FULL = bool(os.environ.get("TORTURE"))
# Requests before and after the base backup.
ROWS = 500_000 if IN_FULL else 1_000
AT_ONCE = 10_000


@pytest.fixture
def postgres() -> Iterator[ArchivedPostgres]:
    postgres = ArchivedPostgres()
    yield postgres
    postgres.close()


@pytest.fixture
def operator(postgres: ArchivedPostgres, tmp_path: Path) -> Server:
    return Server(tmp_path / "it", tmp_path, CLASSIFIER_DATABASE_URL=postgres.url)


def answer(url: str, key: dict[str, Any], numbers: range) -> None:
    """Log requests that were answered, as the gateway does before the answer leaves."""

    async def record() -> None:
        store = Store(url)
        for start in range(numbers.start, numbers.stop, AT_ONCE):
            some = range(start, min(numbers.stop, start + AT_ONCE))
            known = (key["user_id"], key["key_id"], "/v2/classify", "POST", 200, 12.5)
            rows = [UsageRow(f"req_{number:07}", *known, unix_us(), 1, 1) for number in some]
            assert await asyncio.gather(*map(store.record, rows)) == [None] * len(rows)
        await store.close()

    asyncio.run(record())


def answered(url: str) -> list[str]:
    with RawSql(url) as raw:
        return [request_id for (request_id,) in raw.rows("SELECT request_id FROM usage_log ORDER BY id")]


def states(operator: Server) -> dict[str, str]:
    listed = json.loads(operator.auth("list", "--json").stdout)["keys"]
    return {key["key_id"]: key["state"] for key in listed}


def named(numbers: range) -> list[str]:
    return [f"req_{number:07}" for number in numbers]


def test_everything_until_the_moment_before_an_accident_is_back(
    postgres: ArchivedPostgres, operator: Server, tmp_path: Path
) -> None:
    ada, bob, eve = (operator.create_key(f"{name}@example.org") for name in ("ada", "bob", "eve"))
    answer(postgres.url, ada, range(ROWS))
    postgres.take_base_backup()
    answer(postgres.url, ada, range(ROWS, 2 * ROWS))
    assert operator.auth("revoke", bob["key_id"]).returncode == 0
    before = postgres.execute("SELECT clock_timestamp()")

    # Afterwards, a key is revoked, some are answered, and somebody deletes the wrong table.
    assert operator.auth("revoke", eve["key_id"]).returncode == 0
    answer(postgres.url, ada, range(2 * ROWS, 2 * ROWS + 10))
    postgres.execute("DROP TABLE usage_log")
    listed = str(tmp_path / "revocations.json")
    assert operator.auth("revocations", listed).returncode == 0
    postgres.archive_now()

    began = time.monotonic()
    operator.environment["CLASSIFIER_DATABASE_URL"] = url = postgres.recover(until=before)
    print(f"recovered with {ROWS:,} rows since the base backup in {time.monotonic() - began:.1f} s")
    assert answered(url) == named(range(2 * ROWS))
    assert operator.auth("reconcile").returncode == 0
    # The recovered database does not know of the later revocation; the list does.
    assert states(operator) == {ada["key_id"]: "live", bob["key_id"]: "revoked", eve["key_id"]: "live"}
    assert json.loads(operator.auth("revoke-again", listed, "--json").stdout) == {"keys": 1, "users": 0}
    assert states(operator) == {ada["key_id"]: "live", bob["key_id"]: "revoked", eve["key_id"]: "revoked"}
    # It serves on: new rows get numbers of their own, and the logs are protected.
    answer(url, ada, range(9_000_000, 9_000_010))
    assert answered(url)[-10:] == named(range(9_000_000, 9_000_010))
    with RawSql(url) as raw:
        raw.assert_refused("DELETE FROM usage_log", "usage_log")


def test_if_the_machine_is_lost_only_what_was_not_archived_is_lost(
    postgres: ArchivedPostgres, operator: Server
) -> None:
    ada = operator.create_key("ada@example.org")
    postgres.take_base_backup()
    answer(postgres.url, ada, range(100))
    postgres.archive_now()
    answer(postgres.url, ada, range(100, 200))
    postgres.server.stop()

    operator.environment["CLASSIFIER_DATABASE_URL"] = url = postgres.recover()
    found = answered(url)
    assert found[:100] == named(range(100))
    assert found == named(range(len(found))), "no row is missing before one that is there"
    assert len(found) < 200
    assert operator.auth("reconcile").returncode == 0
