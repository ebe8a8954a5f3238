"""What the tests of the meter share: a Stripe, a database with customers in it, and runs of the meter."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auth.cli import meter_run
from auth.cli.meter_run import Report
from auth.cli.stripe_sender import StripeSender
from storage.clock import iso, unix_us
from storage.database import Database
from storage.store import Store
from storage.usage import UsageRow
from testing.clock import Clock
from testing.servers import Server
from testing.store_servers import Postgres
from tests.stripe_server import KEY, StripeServer

HOUR_S, DAY_S, SECOND_US = 3600, 86400, 1_000_000
# The hour in which the tests begin. They may end in the next one.
THIS_HOUR_S = unix_us() // SECOND_US // HOUR_S * HOUR_S
_numbers = itertools.count(1)


@pytest.fixture
def stripe() -> Iterator[StripeServer]:
    server = StripeServer()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def operator(request: pytest.FixtureRequest, tmp_path: Path, stripe: StripeServer) -> Server:
    """The command line with a database of its own, and a Stripe."""
    settings = {"CLASSIFIER_STRIPE_KEY": KEY, "CLASSIFIER_STRIPE_API": stripe.url}
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        settings["CLASSIFIER_DATABASE_URL"] = postgres.new_database()
    return Server(tmp_path / "it", tmp_path, **settings)


@pytest.fixture
def database(operator: Server) -> Iterator[Database]:
    database = Database(operator.environment["CLASSIFIER_DATABASE_URL"])
    yield database
    database.close()


@pytest.fixture
def clock(stripe: StripeServer) -> Clock:
    """A quarter past an hour; Stripe's clock goes with it."""
    clock = Clock((THIS_HOUR_S + 900) * SECOND_US)
    stripe.now_s = lambda: clock.now_us / SECOND_US
    return clock


def hour_ago(hours: int) -> int:
    """The start of an hour, Unix seconds."""
    return THIS_HOUR_S - hours * HOUR_S


def new_customer(operator: Server, name: str, hours: int = 48) -> dict[str, Any]:
    """A user whose images are sent from so many hours ago on; the customer has the user's name."""
    key = operator.create_key(f"{name}@example.org")
    since = str(iso(hour_ago(hours) * SECOND_US))
    done = operator.auth("set-customer", f"{name}@example.org", f"cus_{name}", "--from", since)
    assert done.returncode == 0, done.stderr
    return key


def log(operator: Server, key: dict[str, Any], *rows: tuple[int, int]) -> None:
    """Write a usage row for each pair of an hour's start and billable images."""

    async def record() -> None:
        store = Store(operator.environment["CLASSIFIER_DATABASE_URL"])
        for hour_s, images in rows:
            known = (f"req_{next(_numbers)}", key["user_id"], key["key_id"], "/v2/classify/batch", "POST", 200, 5.0)
            await store.record(UsageRow(*known, hour_s * SECOND_US + 1, images, images))
        await store.close()

    asyncio.run(record())


def meter(operator: Server, *options: str) -> dict[str, Any]:
    done = operator.auth("meter", "stripe", "--json", *options)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def refused(operator: Server, *arguments: str) -> str:
    done = operator.auth(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert KEY not in done.stderr
    return done.stderr


def run(database: Database, stripe: StripeServer, clock: Clock, slept: list[float] | None = None) -> Report:
    """One run of the meter at the clock's time."""
    problems = meter_run.write(database, clock.now_us)
    sender = StripeSender(KEY, "images", stripe.url)
    waits: list[float] = [] if slept is None else slept
    report = meter_run.send(database, sender, lambda: clock.now_us, waits.append)
    sender.close()
    report.failures[:0] = problems
    return report
