"""The outbox: a message is added once, claimed by one sender at a time, and sent again until it is settled."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from storage import outbox
from storage.database import Database
from storage.models import outbox as table
from storage.models import users
from storage.outbox import NewMessage
from testing.empty_databases import make_tables
from testing.store_servers import Postgres
from testing.waiting import PATIENCE_S

KIND = "quota.reached"
LEASE_US = 1000


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/test.db"
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.new_database()
    make_tables(url)
    database = Database(url)
    database.change(lambda c: c.execute(insert(users).values(id="usr_1", email="a@b.de", limits="", created_us=0)))
    yield database
    database.close()


def message(number: int) -> NewMessage:
    return NewMessage(KIND, f"usr_1/{number}", "usr_1", 3600 * number, number, "{}", created_us=number)


def add(database: Database, *numbers: int) -> None:
    database.change(partial(outbox.add, messages=[message(number) for number in numbers]))


def claim(database: Database, now_us: int, most: int = 10) -> list[int]:
    claimed = database.change(lambda c: outbox.claim(c, KIND, now_us, LEASE_US, most))
    return [one.value for one in claimed]


def rows(database: Database) -> list[dict[str, Any]]:
    def read(connection: Connection) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in connection.execute(select(table).order_by(table.c.id))]

    return database.ask(read)


def test_a_message_is_added_once(database: Database) -> None:
    add(database, 1, 2)
    add(database, 2, 3)
    assert [row["value"] for row in rows(database)] == [1, 2, 3]


def test_one_sender_at_a_time_has_a_message(database: Database) -> None:
    add(database, 1, 2, 3)
    assert claim(database, 10, most=2) == [1, 2]
    assert claim(database, 11) == [3]
    assert claim(database, 10 + LEASE_US - 1) == []
    assert claim(database, 10 + LEASE_US) == [1, 2]
    assert [(row["first_tried_us"], row["tries"]) for row in rows(database)] == [(10, 2), (10, 2), (11, 1)]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_sender_takes_what_no_other_one_is_claiming(database: Database) -> None:
    """On SQLite, one writes after the other. A sender that got nothing would take the queue for empty."""
    add(database, 1, 2, 3)

    def claim_beside(connection: Connection) -> list[int]:
        [one] = outbox.claim(connection, KIND, 10, LEASE_US, 1)
        with ThreadPoolExecutor(1) as pool:
            return [one.value, *pool.submit(claim, database, 10, 1).result(PATIENCE_S)]

    assert database.change(claim_beside) == [1, 2]


def test_it_is_sent_until_it_is_settled_or_given_up(database: Database) -> None:
    add(database, 1, 2, 3)
    first, second, third = database.change(lambda c: outbox.claim(c, KIND, 10, LEASE_US, 10))
    database.change(lambda c: outbox.settle(c, first.id, 20))
    database.change(lambda c: outbox.postpone(c, second.id, 5000, "the receiver answered 503"))
    database.change(lambda c: outbox.give_up(c, third.id, "the receiver answered 400"))
    assert claim(database, 4999) == []
    assert claim(database, 10**15) == [2]
    assert [row["delivered_us"] for row in rows(database)] == [20, None, None]
    assert [row["failure"] for row in rows(database)] == [
        None,
        "the receiver answered 503",
        "the receiver answered 400",
    ]


def test_what_was_delivered_stays_so_if_a_sender_fails_whose_claim_has_ended(database: Database) -> None:
    add(database, 1)
    [message] = database.change(lambda c: outbox.claim(c, KIND, 10, LEASE_US, 10))
    assert claim(database, 10 + LEASE_US) == [1]
    database.change(lambda c: outbox.settle(c, message.id, 2000))
    database.change(lambda c: outbox.postpone(c, message.id, 3000, "the receiver answered 503"))
    assert claim(database, 10**15) == []
    database.change(lambda c: outbox.give_up(c, message.id, "the receiver answered 410"))
    assert [(row["delivered_us"], row["failure"]) for row in rows(database)] == [(2000, None)]
