"""`python -m auth move`: from an SQLite file to PostgreSQL, killed half way, under load, and again."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from storage import keys
from storage.clock import unix_us
from storage.database import Database
from storage.errors import StorageUnavailable
from storage.keys import NewKey
from storage.migrate import migrate
from storage.move import move as copy_all
from storage.policy import Limit
from storage.quotas import Quota
from storage.reservations import QuotaRequest
from storage.store import Store
from storage.usage import UsageRow
from testing.servers import PROJECT, Server
from testing.store_servers import Postgres
from tests.full_database import contents, fill, tables_of
from tests.moving import move, new, old, operator, refused
from tests.raw_sql import RawSql

__all__ = ["new", "old", "operator"]

IN_FULL = bool(os.environ.get("TORTURE"))
ROWS = 1_000_000 if IN_FULL else 10_000
# So many rows that a move is killed before its end.
KILLED_ROWS, KILLS = (300_000, 20) if IN_FULL else (40_000, 2)
WAIT_S = 120
MIDDAY_US = int(datetime(2026, 11, 15, 12, tzinfo=UTC).timestamp()) * 1_000_000


def test_every_table_is_moved_to_the_last_row(operator: Server, old: str, new: str) -> None:
    fill(old, ROWS)
    began = time.monotonic()
    moved = move(operator, new)
    print(f"{ROWS:,} usage rows moved and compared in {time.monotonic() - began:.0f} s")
    before = contents(old)
    assert set(before) == tables_of(old)
    assert all(before.values()), "a table without a row shows nothing"
    assert contents(new) == before
    assert {name: told["rows"] for name, told in moved["tables"].items()} == {
        name: len(rows) for name, rows in before.items()
    }
    assert moved["rows"] == sum(map(len, before.values()))
    # A second move finds nothing to do, and the same digests.
    assert move(operator, new)["tables"] == moved["tables"]


def test_new_rows_get_new_numbers_and_the_logs_stay_append_only(operator: Server, old: str, new: str) -> None:
    fill(old, 100)
    move(operator, new)
    operator.environment["CLASSIFIER_DATABASE_URL"] = new
    made = operator.create_key("new@example.org")
    asyncio.run(record(new, [row(made["user_id"], made["key_id"], "req_new")]))
    with RawSql(new) as raw:
        assert raw.rows("SELECT id FROM usage_log ORDER BY id DESC LIMIT 1") == [(200,)]
        raw.assert_refused("DELETE FROM usage_log", "usage_log")
        raw.assert_refused("UPDATE audit_log SET actor = 'nobody'", "audit_log")


def row(user_id: str, key_id: str, request_id: str, **fields: Any) -> UsageRow:
    known = {"endpoint": "/v2/classify", "method": "POST", "status": 200, "response_ms": 12.5, "images": 1}
    return UsageRow(request_id, user_id, key_id, **{"at_us": MIDDAY_US, "billable": 1, **known, **fields})


async def record(url: str, rows: list[UsageRow]) -> None:
    store = Store(url)
    await asyncio.gather(*map(store.record, rows))
    await store.close()


def test_windows_and_quotas_go_on_where_they_were(operator: Server, old: str, new: str) -> None:
    """Three of five are used, of a limit and of a quota, one of them by a request that is under way; two are left."""
    limits, quotas = (Limit(5, 86400),), (Quota(5, "month"),)
    database = Database(old)
    key = NewKey("ada@example.org", limits, limits, "key", "hash", frozenset(), unix_us(), None, None, quotas)
    user = database.change(partial(keys.issue, new=key)).user_id
    database.close()

    def ask(number: int) -> QuotaRequest:
        return QuotaRequest(user, quotas, f"req_{number}", 1, MIDDAY_US)

    async def use(url: str, numbers: range) -> list[bool]:
        store = Store(url)
        admitted = []
        for number in numbers:
            decision = await store.hit(user, limits, quota=ask(number))
            admitted.append(decision.admitted)
            if decision.admitted and number != 2:
                assert await store.record(row(user, "key", f"req_{number}", takes_quota=True)) is None
        await store.close()
        return admitted

    async def left(url: str) -> tuple[int, int]:
        store = Store(url)
        decision = await store.standing(user, limits, quota=ask(0))
        await store.close()
        return decision.standings[0].remaining, decision.quotas[0].remaining

    assert asyncio.run(use(old, range(3))) == [True] * 3
    assert asyncio.run(left(old)) == (2, 2)
    move(operator, new)
    assert asyncio.run(left(new)) == (2, 2)
    assert asyncio.run(use(new, range(3, 7))) == [True, True, False, False]


def test_a_move_that_is_killed_goes_on_where_it_was(operator: Server, old: str, new: str) -> None:
    """Killed again and again, each time when some more rows have arrived."""
    fill(old, KILLED_ROWS)
    migrate(new)
    command = [sys.executable, "-m", "auth", "move", "--to", new]
    count, first = "SELECT count(*) FROM usage_log", "SELECT xmin::text FROM usage_log ORDER BY id LIMIT 1"
    with RawSql(new) as raw:
        kept = 0
        for _ in range(KILLS):
            moving = subprocess.Popen(command, cwd=PROJECT, env=operator.environment, stderr=subprocess.DEVNULL)
            give_up = time.monotonic() + WAIT_S
            while raw.rows(count) == [(kept,)]:
                assert time.monotonic() < give_up
                assert moving.poll() is None
                time.sleep(0.002)
            moving.send_signal(signal.SIGKILL)
            moving.wait()
            [(kept,)] = raw.rows(count)
            assert 0 < kept < KILLED_ROWS
        # What is there already is not written again.
        version = raw.rows(first)
        move(operator, new)
        assert raw.rows(first) == version
    assert contents(new) == contents(old)


def test_a_move_goes_on_after_postgresql_was_away(operator: Server, old: str, new: str, postgres: Postgres) -> None:
    fill(old, 20_000)

    def stop(action: str, table: str, rows: int) -> None:
        if (action, table) == ("copying", "usage_log") and rows > 10_000:
            postgres.stop()

    with pytest.raises(StorageUnavailable, match=r"^The new database"):
        copy_all(old, new, stop)
    postgres.start()
    with RawSql(new) as raw:
        [(kept,)] = raw.rows("SELECT count(*) FROM usage_log")
    assert 0 < kept < 20_000
    move(operator, new)
    assert contents(new) == contents(old)


def test_under_load_nothing_is_lost_and_nothing_is_twice(operator: Server, old: str, new: str) -> None:
    fill(old, ROWS)
    made = operator.create_key("busy@example.org", "--limit", "1000000/day")
    over, logged = threading.Event(), [0]

    async def request() -> None:
        store = Store(old)
        while not over.is_set():
            await store.hit(made["user_id"], (Limit(1_000_000, 86400),))
            one = row(made["user_id"], made["key_id"], f"req_live_{logged[0]}", at_us=unix_us(), notes_use=True)
            assert await store.record(one) is None
            logged[0] += 1
        await store.close()

    requesting = threading.Thread(target=lambda: asyncio.run(request()))
    requesting.start()
    began = time.monotonic()
    try:
        said = refused(operator, new)
    finally:
        over.set()
        requesting.join()
    assert "Stop all servers, and run this again" in said
    assert logged[0] > 10
    ended = time.monotonic()
    move(operator, new)
    last_s = time.monotonic() - ended
    print(f"{ROWS:,} rows, and {logged[0]:,} under way: {ended - began:.0f} s, and {last_s:.0f} s without a server")
    assert contents(new) == contents(old)
    with RawSql(new) as raw:
        assert raw.rows("SELECT count(*) FROM usage_log WHERE request_id LIKE 'req_live_%'") == [(logged[0],)]
    operator.environment["CLASSIFIER_DATABASE_URL"] = new
    assert len(json.loads(operator.auth("list", "--user", "busy@example.org", "--json").stdout)["keys"]) == 1


def test_what_changes_between_two_runs_is_changed_in_the_new_database(operator: Server, old: str, new: str) -> None:
    """Users exchange their addresses, one is erased, rows are pruned, hits expire, and rows are added."""
    ada, bob, _ = (operator.create_key(f"{name}@example.org") for name in ("ada", "bob", "eve"))
    asyncio.run(record(old, [row(ada["user_id"], ada["key_id"], f"req_{number}") for number in range(20)]))
    with RawSql(old) as raw:
        raw.change(f"INSERT INTO hits VALUES ('{ada['user_id']}', 1, 5), ('{ada['user_id']}', 2, 6)")
    move(operator, new)
    for one, other in (("ada", "carol"), ("bob", "ada"), ("carol", "bob")):
        assert operator.auth("rename", f"{one}@example.org", f"{other}@example.org").returncode == 0
    assert operator.auth("revoke", bob["key_id"]).returncode == 0
    assert operator.auth("erase", "eve@example.org", "--yes").returncode == 0
    late = row(ada["user_id"], ada["key_id"], "req_late", at_us=unix_us())
    asyncio.run(record(old, [late]))
    assert operator.auth("prune", "--older-than", "1d", "--yes").returncode == 0
    with RawSql(old) as raw:
        raw.change("DELETE FROM hits WHERE seq = 1")
        assert raw.rows("SELECT count(*) FROM usage_log") == [(1,)]
    move(operator, new)
    assert contents(new) == contents(old)
    with RawSql(new) as raw:
        raw.assert_refused("DELETE FROM usage_log", "usage_log")
