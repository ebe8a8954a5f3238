"""Changes that share one commit: each is answered with its own result, and an error fails only the change at fault."""

import asyncio
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from storage import keys, usage
from storage.errors import StorageUnavailable
from storage.keys import NewKey
from storage.policy import Limit
from storage.store import Store
from storage.usage import UsageRow
from testing.empty_databases import make_tables

LIMITS = (Limit(1000, 60),)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    kind = request.param
    url = request.getfixturevalue("postgres").new_database() if kind == "postgresql" else f"sqlite:///{tmp_path}/it.db"
    make_tables(url)
    made = Store(url)
    yield made
    made.database.close()


def new_user(store: Store) -> str:
    new = NewKey("a@b", None, LIMITS, "key", "hash", frozenset(), 0, None)
    return store.database.change(partial(keys.issue, new=new)).user_id


def row(request_id: str, user: str) -> UsageRow:
    return UsageRow(request_id, user, "key", "/v1/classify", "POST", 200, 5.0, 1_700_000_000_000_000, 1)


def test_a_change_that_breaks_a_rule_of_the_database_fails_alone(store: Store) -> None:
    """Two rows have one request id. SQLite leaves so many changes at once to the writer thread."""
    user = new_user(store)
    ids = [f"req_{number}" for number in range(200)]
    ids.insert(150, "req_100")

    async def at_once() -> list[object]:
        rows = [store.record(row(request_id, user)) for request_id in ids]
        hits = [store.hit(user, LIMITS) for _ in range(5)]
        answers = await asyncio.gather(*rows, *hits, return_exceptions=True)
        return list(answers)

    *rows, a, b, c, d, e = asyncio.run(at_once())
    errors = [answer for answer in rows if isinstance(answer, BaseException)]
    assert len(errors) == 1
    assert isinstance(errors[0], (IntegrityError, sqlite3.IntegrityError))
    assert store.database.ask(usage.count) == 200
    remaining = [decision.standings[0].remaining for decision in (a, b, c, d, e)]  # type: ignore[attr-defined]
    assert remaining == [999, 998, 997, 996, 995]


def test_each_change_is_told_that_the_database_is_away(store: Store) -> None:
    user = new_user(store)
    store.database.change(lambda connection: connection.exec_driver_sql("ALTER TABLE hits RENAME TO away"))

    async def at_once() -> list[object]:
        answers = await asyncio.gather(*(store.hit(user, LIMITS) for _ in range(10)), return_exceptions=True)
        return list(answers)

    errors = asyncio.run(at_once())
    assert all(isinstance(error, StorageUnavailable) for error in errors)
    assert len(set(map(id, errors))) == 10


def test_what_is_queued_at_the_end_is_committed(store: Store) -> None:
    user = new_user(store)

    async def end_with_rows_queued() -> None:
        rows = [asyncio.create_task(store.record(row(f"req_{number}", user))) for number in range(600)]
        await asyncio.sleep(0)
        await store.close()
        await asyncio.gather(*rows)

    asyncio.run(end_with_rows_queued())
    assert store.database.ask(usage.count) == 600
