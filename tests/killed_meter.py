"""Runs `python -m auth meter stripe` again and again, in processes that may be killed between two of their steps.

Reads an order from each line of standard input, and answers each with a line: see `Order` and `Outcome`. The processes
are forked, since to load Stripe's library takes a second.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from auth.cli import main, meter_commands, meter_run, stripe_sender
from auth.cli.meter_run import Report, Sender
from storage import customers, metering, outbox
from storage.database import Database
from storage.outbox import Message

# The steps: what makes them, and their names before and behind it. "changed": a transaction is committed.
PLACES: list[tuple[Any, str, str, str]] = [
    (Database, "change", "about to change", "changed"),
    (outbox, "add", "read the sums", "wrote the messages"),
    (outbox, "claim", "about to claim", "claimed"),
    (stripe_sender.StripeSender, "send", "about to send", "sent"),
    (outbox, "settle", "about to settle", "settled"),
]


class Order(NamedTuple):
    """One run.

    Attributes:
        now_us: what the clock shows, Unix microseconds.
        kill_at: after how many steps the process is killed; None: it is not.
        sends_first: whether the meter is the broken one, which sends before it writes.
    """

    now_us: int
    kill_at: int | None = None
    sends_first: bool = False


class Outcome(NamedTuple):
    """How the process ended: its exit status, or the number of the signal below 0; and the steps that it has made."""

    status: int
    steps: list[str]


class Steps:
    """Counts the steps of a process, and kills it after one of them."""

    def __init__(self, kill_at: int | None, written: int) -> None:
        self._left = kill_at
        self._written = written

    def made(self, name: str) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(self._written, f"{name}\n".encode())
        if self._left is not None:
            self._left -= 1

    def around(self, function: Callable[..., Any], before: str, after: str) -> Callable[..., Any]:
        """The function, with a step before it and one behind it."""

        def with_steps(*arguments: Any, **named: Any) -> Any:
            self.made(before)
            made = function(*arguments, **named)
            self.made(after)
            return made

        return with_steps


def send_first(database: Database, sender: Sender, clock_us: Callable[[], int], **_named: Any) -> Report:
    """What a meter does that writes down only what it has sent."""
    for customer in database.ask(customers.every):
        found = partial(metering.uncounted, user_id=customer.user_id, customer=customer.customer)
        for count in database.ask(partial(found, from_s=customer.from_s, now_s=clock_us() // 1_000_000)):
            message = count.message(clock_us())
            told = (message.identifier, message.user_id, message.period_s, message.value, message.payload)
            sender.send(Message(0, *told, clock_us(), None, 0))
            database.change(partial(outbox.add, messages=[message]))
            [written] = database.change(
                partial(outbox.claim, kind=metering.KIND, now_us=clock_us(), lease_us=1, most=1)
            )
            database.change(partial(outbox.settle, message_id=written.id, delivered_us=clock_us()))
    return Report()


def run(order: Order, written: int) -> int:
    """Run the meter with its steps counted, and return its exit status."""
    steps = Steps(order.kill_at, written)
    with ExitStack() as stack, Path(os.devnull).open("w") as nowhere:
        for owner, name, before, after in PLACES:
            around = steps.around(getattr(owner, name), before, after)
            stack.enter_context(mock.patch.object(owner, name, around))
        clock = partial(int, order.now_us)
        stack.enter_context(mock.patch.object(meter_commands, "unix_us", clock))
        send = partial(send_first if order.sends_first else meter_run.send, clock_us=clock)
        stack.enter_context(mock.patch.object(meter_run, "send", send))
        if order.sends_first:
            stack.enter_context(mock.patch.object(meter_run, "write", return_value=[]))
        stack.enter_context(redirect_stdout(nowhere))
        stack.enter_context(redirect_stderr(nowhere))
        return main.main(["meter", "stripe"])


def fork(order: Order) -> Outcome:
    """Do an order in a process of its own."""
    read, written = os.pipe()
    process = os.fork()
    if process == 0:
        status = 70
        try:
            os.close(read)
            status = run(order, written)
        finally:
            os._exit(status)
    os.close(written)
    with os.fdopen(read) as steps:
        made = steps.read().split("\n")[:-1]
    _, ended = os.waitpid(process, 0)
    return Outcome(os.waitstatus_to_exitcode(ended), made)


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(fork(Order(*json.loads(line)))), flush=True)
