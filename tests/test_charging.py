"""The page about charging: its commands lead from a plan to usage that Stripe has counted."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.clock import iso
from testing.servers import PROJECT, Server
from tests.auth_commands import told
from tests.metering import SECOND_US, hour_ago, log
from tests.stripe_server import KEY, StripeServer

PAGE = (PROJECT / "docs" / "charging.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
CUSTOMER = "cus_NciAYcXfLnqBoz"


@pytest.fixture
def stripe() -> Iterator[StripeServer]:
    server = StripeServer()
    yield server
    server.close()


def test_every_command_of_the_page_works(stripe: StripeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    operator = Server(tmp_path / "it", tmp_path, CLASSIFIER_STRIPE_KEY=KEY, CLASSIFIER_STRIPE_API=stripe.url)
    # The page makes the plan before the first user; the database is made before both.
    told(operator, "init")
    for line in LINES:
        program, *arguments = shlex.split(line)
        assert (program, arguments[:2]) == (".venv/bin/python", ["-m", "auth"])
        assert (done := operator.auth(*arguments[2:])).returncode == 0, done.stderr
        if "set-customer" in arguments:
            # The page is read in a minute; a user is charged for what it uses in the hours after that.
            log(operator, told(operator, "show", "ada@example.org")["keys"][0], (hour_ago(2), 1250))
            since = str(iso(hour_ago(2) * SECOND_US))
            assert operator.auth("set-customer", "ada@example.org", CUSTOMER, "--from", since).returncode == 0
    ada = told(operator, "show", "ada@example.org")
    assert (ada["plan"], ada["stripe_customer"]) == ("pro", CUSTOMER)
    assert [price["price"] for price in told(operator, "plan", "show", "pro")["prices"]] == ["1.50", "1.20"]
    assert (tmp_path / "november.csv").read_text().startswith("time,request_id,")
    assert [(event.customer, event.value) for event in stripe.events] == [(CUSTOMER, 1250)]


def test_the_page_has_ten_steps() -> None:
    assert re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE) == [str(number) for number in range(1, 11)]
