"""Keys that many requests ask for at once are read once, and never seen as they were longer ago than is promised."""

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from auth.api_key import ApiKey
from storage import keys
from storage.availability import unavailable_total
from storage.clock import unix_us
from storage.errors import StorageUnavailable
from storage.key_record import KeyRecord
from storage.keys import KEY_MEMORY_S, NewKey
from storage.policy import Limit
from storage.store import Store
from testing.empty_databases import make_tables
from testing.waiting import PATIENCE_S


class Reads:
    """Counts the reads of keys; while it is held, each waits after it has found what it looked for."""

    def __init__(self) -> None:
        self.number = 0
        self.began = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()
        self._find = keys.find

    def __call__(self, connection: Connection, key_id: str) -> KeyRecord | None:
        found = self._find(connection, key_id)
        # What makes or revokes a key looks it up too.
        if not threading.current_thread().name.startswith("storage-read"):
            return found
        self.number += 1
        self.began.set()
        assert self.may_end.wait(PATIENCE_S)
        return found


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    counted = Reads()
    monkeypatch.setattr(keys, "find", counted)
    return counted


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/it.db"
    make_tables(url)
    made = Store(url)
    yield made
    made.database.close()


def issue(store: Store, key_id: str) -> None:
    key = ApiKey.generate()
    new = NewKey("a@b", None, (Limit(5, 60),), key_id, key.secret_sha256(), frozenset(), unix_us(), None)
    store.database.change(partial(keys.issue, new=new))


async def began(reads: Reads) -> None:
    assert await asyncio.to_thread(reads.began.wait, PATIENCE_S)


def test_callers_at_once_share_one_read(store: Store, reads: Reads) -> None:
    issue(store, "one")

    async def ask() -> list[KeyRecord | None]:
        return await asyncio.gather(*(store.find_key("one") for _ in range(50)))

    found = asyncio.run(ask())
    assert all(record is not None and record.key_id == "one" for record in found)
    assert reads.number == 1


def test_the_others_are_answered_where_the_first_goes_away(store: Store, reads: Reads) -> None:
    issue(store, "one")

    async def ask() -> list[KeyRecord | None]:
        reads.may_end.clear()
        reads.began.clear()
        asked = [asyncio.create_task(store.find_key("one")) for _ in range(5)]
        await began(reads)
        asked[0].cancel()
        reads.may_end.set()
        return await asyncio.gather(*asked[1:])

    assert all(record is not None for record in asyncio.run(ask()))
    assert reads.number == 1


def test_who_asks_during_an_old_read_sees_the_key_as_it_is_now(store: Store, reads: Reads) -> None:
    issue(store, "one")

    async def ask() -> KeyRecord | None:
        reads.may_end.clear()
        reads.began.clear()
        first = asyncio.create_task(store.find_key("one"))
        await began(reads)
        store.database.change(lambda connection: keys.revoke(connection, "one", unix_us()))
        await asyncio.sleep(KEY_MEMORY_S + 0.05)
        second = asyncio.create_task(store.find_key("one"))
        await asyncio.sleep(0)
        reads.may_end.set()
        await first
        return await second

    record = asyncio.run(ask())
    assert record is not None
    assert not record.is_live(unix_us())


def test_who_asks_for_a_key_made_during_a_read_finds_it(store: Store, reads: Reads) -> None:
    async def ask() -> list[KeyRecord | None]:
        reads.may_end.clear()
        first = asyncio.create_task(store.find_key("one"))
        await began(reads)
        await asyncio.to_thread(issue, store, "one")
        second = asyncio.create_task(store.find_key("one"))
        await asyncio.sleep(0)
        reads.may_end.set()
        return [await first, await second]

    first, second = asyncio.run(ask())
    assert first is None
    assert second is not None


def test_each_caller_is_told_and_counted_where_the_database_is_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailable("away", "away")

    monkeypatch.setattr(keys, "find", away)
    before = unavailable_total.labels("database")._value.get()

    async def ask() -> list[BaseException | KeyRecord | None]:
        return await asyncio.gather(*(store.find_key("one") for _ in range(5)), return_exceptions=True)

    assert all(isinstance(told, StorageUnavailable) for told in asyncio.run(ask()))
    assert unavailable_total.labels("database")._value.get() == before + 5
