"""Commits on the event loop: together, without blocking it, and every change is committed or reported."""

import asyncio
import sqlite3
import time
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from storage import keys
from storage.errors import StorageUnavailable
from storage.keys import NewKey
from storage.policy import Limit
from storage.store import Store
from testing.empty_databases import make_tables

LIMITS = (Limit(1_000_000, 86_400),)
HELD_S = 0.5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_tables(f"sqlite:///{tmp_path}/it.db")
    return tmp_path / "it.db"


def _store(path: Path) -> tuple[Store, str]:
    store = Store(f"sqlite:///{path}")
    new = NewKey("a@b", None, LIMITS, "key", "hash", frozenset(), 0, None)
    return store, store.database.change(partial(keys.issue, new=new)).user_id


@pytest.mark.alone
def test_the_service_goes_on_while_another_process_writes(path: Path) -> None:
    """The hit is counted once the database is free, and the event loop does not stand still until then."""
    store, user = _store(path)

    async def hit_while_held() -> tuple[bool, float]:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        hit, last, longest = asyncio.create_task(store.hit(user, LIMITS)), time.monotonic(), 0.0
        free_at = last + HELD_S
        while not hit.done():
            await asyncio.sleep(0.01)
            now = time.monotonic()
            last, longest = now, max(longest, now - last)
            if now > free_at and other.in_transaction:
                assert not hit.done()
                other.execute("COMMIT")
        other.close()
        await store.close()
        return hit.result().admitted, longest

    admitted, longest = asyncio.run(hit_while_held())
    assert admitted
    assert longest < HELD_S / 2


def test_requests_at_the_same_time_share_a_transaction(path: Path) -> None:
    store, user = _store(path)

    async def at_once() -> list[int]:
        decisions = await asyncio.gather(*(store.hit(user, LIMITS) for _ in range(20)))
        await store.close()
        return [decision.standings[0].remaining for decision in decisions]

    before = _transactions()
    assert asyncio.run(at_once()) == [1_000_000 - number for number in range(1, 21)]
    assert _transactions() - before == 1


def _transactions() -> float:
    return REGISTRY.get_sample_value("classifier_commit_seconds_count") or 0.0


def test_inline_commits_leave_checkpoints_to_the_writer_thread(path: Path) -> None:
    store, user = _store(path)
    log = path.with_name("it.db-wal")

    async def hits_apart() -> int:
        for _ in range(1400):
            await store.hit(user, LIMITS)
        size = log.stat().st_size
        await store.close()
        return size

    # A hit writes some 13 KB; SQLite starts its log anew after each checkpoint, which is due at 4 MB.
    assert asyncio.run(hits_apart()) < 8_000_000


def test_what_can_not_be_committed_is_told_and_counts_nothing(path: Path) -> None:
    store, user = _store(path)

    async def around_an_outage() -> list[int]:
        left = [(await store.hit(user, LIMITS)).standings[0].remaining]
        with sqlite3.connect(path) as other:
            other.execute("ALTER TABLE hits RENAME TO away")
        for _ in range(3):
            with pytest.raises(StorageUnavailable):
                await store.hit(user, LIMITS)
        with sqlite3.connect(path) as other:
            other.execute("ALTER TABLE away RENAME TO hits")
        left.append((await store.hit(user, LIMITS)).standings[0].remaining)
        await store.close()
        return left

    first, second = asyncio.run(around_an_outage())
    assert second == first - 1
