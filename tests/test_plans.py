"""Plans, prices and quotas, as an operator types them and reads them."""

import json
import sqlite3
import threading
from contextlib import closing
from typing import Any

import pytest

from auth.cli import plan_commands
from auth.cli.answer import Context
from configs.settings import Settings
from storage.clock import unix_us
from storage.database import Database
from storage.plan_changes import BEGINS_AFTER_US
from testing.servers import Server
from tests.auth_commands import operator, told
from tests.raw_sql import RawSql

__all__ = ["operator"]

PRO = ("pro", "--limit", "600/minute", "--quota", "100000/month", "--price", "1.50", "--currency", "eur")


def audit(operator: Server) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(operator.auth("audit", "--json").stdout)["entries"]
    return entries


@pytest.fixture
def ada(operator: Server) -> str:
    """The id of a user with the default limit."""
    return str(operator.create_key("ada@example.org")["user_id"])


def test_a_plan_from_its_making_to_its_end(operator: Server, ada: str) -> None:
    made = told(operator, "plan", "create", *PRO, "--from", "2026-01-01")
    assert made["name"] == "pro"
    assert (made["limits"], made["quotas"]) == (["600/minute"], ["100000/month"])
    assert made["prices"] == [{"price": "1.50", "currency": "EUR", "from": "2026-01-01T00:00:00+00:00"}]
    assert told(operator, "plan", "list")["plans"] == [made] == [told(operator, "plan", "show", "pro")]
    assert "1.50 EUR from 2026-01-01" in operator.auth("plan", "list").stdout
    # The default limit of a user is not its own, so it gives way.
    assigned = told(operator, "plan", "assign", "ada@example.org", "pro")
    assert (assigned["plan"], assigned["limits"], assigned["quotas"]) == ("pro", ["600/minute"], ["100000/month"])
    told(operator, "plan", "set-quota", "pro", "500/day")
    told(operator, "plan", "set-limit", "pro", "--none")
    shown = told(operator, "show", ada)
    assert (shown["limits"], shown["quotas"]) == (["5/minute"], ["500/day"])
    assert told(operator, "plan", "unassign", ada)["plan"] is None
    assert told(operator, "show", ada)["quotas"] == []
    actions = [entry["action"] for entry in audit(operator)]
    assert actions == ["create", "plan-create", "plan-assign", "plan-set-quota", "plan-set-limit", "plan-unassign"]
    assert audit(operator)[2]["detail"]["plan"] == "pro"


def test_a_users_own_limits_go_before_the_plans(operator: Server) -> None:
    made = operator.create_key("bob@example.org", "--limit", "7/minute", "--quota", "10/month", "--quota", "5/day")
    assert made["quotas"] == ["10/month", "5/day"]
    told(operator, "plan", "create", *PRO)
    assigned = told(operator, "plan", "assign", "bob@example.org", "pro")
    assert (assigned["limits"], assigned["quotas"]) == (["7/minute"], ["10/month", "5/day"])
    assert told(operator, "set-quota", "bob@example.org", "--none")["quotas"] == ["100000/month"]
    assert told(operator, "set-quota", "bob@example.org", "3/day")["quotas"] == ["3/day"]
    given_up = told(operator, "plan", "assign", "bob@example.org", "pro", "--drop-own")
    assert (given_up["limits"], given_up["quotas"]) == (["600/minute"], ["100000/month"])


@pytest.mark.usefixtures("ada")
def test_a_price_begins_after_those_that_had_to_be_waited_for(operator: Server) -> None:
    told(operator, "plan", "create", "pro")
    released: list[int] = []

    def release() -> None:
        released.append(unix_us())
        other.execute("ROLLBACK")

    path = operator.environment["CLASSIFIER_DATABASE_URL"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.2, release).start()
        # Not by `told`: a command that migrates first would wait before it begins.
        context = Context(Database(operator.environment["CLASSIFIER_DATABASE_URL"]), (), Settings())
        plan_commands.set_price(context, name="pro", price=1, currency="EUR", since=None)
        context.database.close()
        [[begins_us]] = other.execute("SELECT from_us FROM plan_prices").fetchall()
    assert begins_us >= released[0] + BEGINS_AFTER_US


def test_the_users_of_a_plan_take_the_currency_of_its_first_price(operator: Server) -> None:
    for name in ("ada", "bob", "eve"):
        operator.create_key(f"{name}@example.org")
    told(operator, "plan", "create", "pro")
    for name in ("ada", "bob"):
        told(operator, "plan", "assign", f"{name}@example.org", "pro")
    told(operator, "plan", "set-price", "pro", "--price", "1", "--currency", "EUR", "--from", "2100-01-01")
    with RawSql(operator.environment["CLASSIFIER_DATABASE_URL"]) as raw:
        found = raw.rows("SELECT email, currency FROM users ORDER BY email")
    assert [currency for _, currency in found] == ["EUR", "EUR", None]


@pytest.mark.usefixtures("ada")
def test_a_price_holds_from_its_date_on(operator: Server) -> None:
    told(operator, "plan", "create", *PRO)
    later = told(operator, "plan", "set-price", "pro", "--price", "2", "--currency", "EUR", "--from", "2100-01-01")
    assert [price["price"] for price in later["prices"]] == ["1.50", "2.00"]
    for arguments, why in (
        (["--price", "3", "--currency", "EUR", "--from", "2020-01-01"], "2100-01-01"),
        (["--price", "3", "--currency", "USD", "--from", "2110-01-01"], "EUR"),
    ):
        refused = operator.auth("plan", "set-price", "pro", *arguments)
        assert refused.returncode == 1
        assert why in refused.stderr
    told(operator, "plan", "create", "free")
    refused = operator.auth("plan", "set-price", "free", "--price", "3", "--currency", "EUR", "--from", "2020-01-01")
    assert (refused.returncode, "past" in refused.stderr) == (1, True)
    assert [price["price"] for price in told(operator, "plan", "show", "pro")["prices"]] == ["1.50", "2.00"]


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["plan", "create", "free"], 1, "already"),
        (["plan", "show", "none"], 1, "plan list"),
        (["plan", "assign", "ada@example.org", "none"], 1, "plan list"),
        (["plan", "assign", "nobody@example.org", "free"], 1, "auth list"),
        (["plan", "unassign", "ada@example.org"], 1, "no plan"),
        (["plan", "create", "a b"], 2, "such as pro"),
        (["plan", "create", "x", "--price", "1.5"], 2, "--currency"),
        (["plan", "create", "x", "--price", "1,5", "--currency", "EUR"], 2, "like 1.50"),
        (["plan", "create", "x", "--price", "1e9", "--currency", "EUR"], 2, "like 1.50"),
        (["plan", "create", "x", "--price", "1", "--currency", "Euro"], 2, "three letters"),
        (["plan", "create", "x", "--from", "2030-01-01"], 2, "--price"),
        (["plan", "create", "x", "--quota", "5/month", "--quota", "6/month"], 2, "two quotas"),
        (["plan", "set-quota", "free"], 2, "--none"),
        (["plan", "set-limit", "free", "5/minute", "--none"], 2, "--none"),
        (["plan"], 2, "COMMAND"),
        (["set-quota", "ada@example.org", "5/minute"], 2, "10000/month"),
        (["set-quota", "ada@example.org", "0/month"], 2, "10000/month"),
        (["create", "--email", "ada@example.org", "--quota", "5/month"], 1, "without a quota"),
    ],
)
def test_what_is_wrong_is_told(operator: Server, arguments: list[str], status: int, says: str) -> None:
    told(operator, "plan", "create", "free")
    refused = operator.auth(*arguments)
    assert refused.returncode == status
    assert says in refused.stderr
    assert refused.stdout == ""
