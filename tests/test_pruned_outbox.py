"""`python -m auth prune` on the outbox: old messages go, and `reconcile` still counts what was sent."""

import json
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from auth.cli import meter_run
from storage import outbox
from storage.clock import unix_us
from storage.database import Database
from storage.models import outbox as table
from storage.outbox import NewMessage
from storage.quota_marks import REACHED
from testing.clock import Clock
from testing.servers import Server
from tests.metering import (
    DAY_S,
    SECOND_US,
    clock,
    database,
    hour_ago,
    log,
    meter,
    new_customer,
    operator,
    refused,
    run,
    stripe,
)
from tests.stripe_server import StripeServer
from tests.test_reconcile_sent import OLD, ada, change_outbox, month, reconciled

__all__ = ["ada", "clock", "database", "operator", "stripe"]

LATER_US = 100 * DAY_S * SECOND_US
FIRST = 33 * 24  # in hours: in the month before that of `OLD`


@pytest.fixture
def ada_since_long(operator: Server) -> dict[str, Any]:
    return new_customer(operator, "ada", hours=34 * 24)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands that compare and delete run a hundred days later."""
    for module in ("log_commands", "sent_check"):
        monkeypatch.setattr(f"auth.cli.{module}.unix_us", lambda: unix_us() + LATER_US)


def prune(operator: Server, *options: str) -> dict[str, Any]:
    done = operator.auth("prune", "--older-than", "40d", "--json", *options)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def messages(database: Database) -> list[tuple[str, int, bool]]:
    """The messages: kind, value, and whether each was delivered."""
    columns = (table.c.kind, table.c.value, table.c.delivered_us)
    found = database.ask(lambda connection: connection.execute(select(*columns).order_by(table.c.period_s)).all())
    return [(kind, value, delivered_us is not None) for kind, value, delivered_us in found]


def test_the_messages_of_a_month_become_their_sum(
    operator: Server, stripe: StripeServer, database: Database, ada_since_long: dict[str, Any], later: None
) -> None:
    ada = ada_since_long
    log(operator, ada, (hour_ago(FIRST), 5), (hour_ago(FIRST - 1), 6), (hour_ago(OLD), 7), (hour_ago(OLD - 1), 8))
    assert (meter(operator)["images"], reconciled(operator)["sent"]) == (26, 26)
    assert month(FIRST) != month(OLD)
    assert prune(operator, "--dry-run")["messages"] == 4
    assert len(messages(database)) == 4
    assert prune(operator)["messages"] == 4
    assert sum(value for _, value, _ in messages(database)) == 26
    assert {kind for kind, *_ in messages(database)} == {"stripe.meter"}
    assert len(messages(database)) < 4
    assert reconciled(operator) == {"sent": 26, "due": 0, "not_sent_yet": 0}
    assert prune(operator)["messages"] == 0
    assert meter_run.write(database, unix_us() + LATER_US) == []
    # An image that is missing in a sum is found as in a message.
    change_outbox(database, "UPDATE outbox SET value = value - 1")
    assert "billable images in the usage log" in refused(operator, "reconcile")


def test_an_hour_of_which_more_was_sent_later_is_added_to_the_sum(
    operator: Server, stripe: StripeServer, database: Database, ada: dict[str, Any], later: None
) -> None:
    log(operator, ada, (hour_ago(OLD), 5))
    meter(operator)
    assert prune(operator)["messages"] == 1
    change_outbox(database, "UPDATE outbox SET value = value - 2")
    sent = NewMessage("stripe.meter", "late", ada["user_id"], hour_ago(OLD), 2, "{}", unix_us())
    database.change(partial(outbox.add, messages=[sent]))
    [claimed] = database.change(lambda c: outbox.claim(c, "stripe.meter", unix_us(), 1, 9))
    database.change(partial(outbox.settle, message_id=claimed.id, delivered_us=unix_us()))
    assert prune(operator)["messages"] == 1
    assert messages(database) == [("stripe.meter", 5, True)]
    assert reconciled(operator)["sent"] == 5


def test_what_is_not_delivered_and_what_is_recent_is_kept(
    operator: Server,
    stripe: StripeServer,
    database: Database,
    ada: dict[str, Any],
    clock: Clock,
    request: pytest.FixtureRequest,
) -> None:
    log(operator, ada, (hour_ago(3), 5))
    run(database, stripe, clock)
    marks = [NewMessage(REACHED, f"mark_{n}", ada["user_id"], hour_ago(3), 80, "{}", unix_us()) for n in range(3)]
    database.change(partial(outbox.add, messages=marks))
    delivered, given_up, _ = database.change(lambda c: outbox.claim(c, REACHED, unix_us(), 1, 9))
    database.change(partial(outbox.settle, message_id=delivered.id, delivered_us=unix_us()))
    database.change(partial(outbox.give_up, message_id=given_up.id, failure="the receiver answered 410"))
    log(operator, ada, (hour_ago(2), 7))
    meter_run.write(database, clock.now_us)
    before = messages(database)
    assert json.loads(operator.auth("prune", "--older-than", "1s", "--json").stdout)["messages"] == 0
    assert messages(database) == before
    request.getfixturevalue("later")
    assert prune(operator)["messages"] == 2
    kept = [("stripe.meter", 5, True), (REACHED, 80, False), (REACHED, 80, False), ("stripe.meter", 7, False)]
    assert sorted(messages(database)) == sorted(kept)


def test_sums_do_not_cross_the_hour_from_which_a_user_is_billed(
    operator: Server, stripe: StripeServer, database: Database, ada: dict[str, Any], later: None
) -> None:
    log(operator, ada, (hour_ago(OLD), 5), (hour_ago(OLD - 1), 6), (hour_ago(OLD - 2), 7))
    meter(operator)
    operator.auth("set-customer", "ada@example.org", "--none")
    change_outbox(
        database,
        f"UPDATE users SET stripe_customer = 'cus_2', stripe_from_s = {hour_ago(OLD - 1)} WHERE email LIKE 'ada%'",
    )
    assert prune(operator)["messages"] == 3
    assert reconciled(operator)["sent"] == 13
