"""The part of `reconcile` that compares the usage log with what was sent to Stripe."""

from functools import partial
from typing import Any

from storage import customers, metering, sent_reconciliation
from storage.clock import MICROSECONDS, iso, unix_us
from storage.database import Database
from storage.errors import Refused
from storage.metering import GivenUp, hour
from storage.sent_reconciliation import Month


class SentCheck:
    """Compares user by user, and adds up the images.

    Args:
        database: the database.
    """

    def __init__(self, database: Database) -> None:
        self._ask = database.ask
        self._now_s = unix_us() // MICROSECONDS
        self._customers = {one.user_id: one for one in self._ask(customers.every)}
        self._given_up: dict[str, GivenUp] = {}
        for one in self._ask(metering.given_up):
            self._given_up.setdefault(one.user_id, one)
        self._delivered, self._due, self._unseen = 0, 0, 0

    def check(self, user_id: str) -> None:
        """Check that in each month the images sent for a user are those in the usage log.

        Raises:
            Refused: names the first month that differs.
        """
        given_up = self._given_up.get(user_id)
        if given_up is not None:
            raise Refused(
                f"User {user_id} in {_month(given_up.hour_s)}: {given_up.images:,} images of {hour(given_up.hour_s)}"
                f" were given up ({given_up.failure}); look into Stripe, then `meter resolve {given_up.identifier}`."
            )
        customer = self._customers.get(user_id)
        if customer is None:
            return
        for span in sent_reconciliation.months(customer.from_s, self._now_s):
            compare = partial(sent_reconciliation.compare, customer=customer, span=span, now_s=self._now_s)
            self._add(user_id, self._ask(compare))

    def _add(self, user_id: str, month: Month) -> None:
        if not month.agrees:
            in_log = month.in_log + max(0, month.unseen)
            told = month.told + max(0, -month.unseen)
            raise Refused(
                f"User {user_id} in {_month(month.start_s)}: {in_log:,} billable images in the usage log,"
                f" {told:,} in what was sent to Stripe; if the log has more, `meter stripe` sends them."
            )
        self._delivered += month.delivered
        self._due += month.due
        self._unseen += month.unseen

    def document(self) -> dict[str, Any]:
        """Return the sums; nothing if no user has a customer."""
        if not self._customers:
            return {}
        return {"stripe": {"sent": self._delivered, "due": self._due, "not_sent_yet": self._unseen}}

    def text(self) -> str:
        """Return the same as a sentence, with a space before it."""
        if not self._customers:
            return ""
        waiting = self._due + self._unseen
        later = f"; {waiting:,} wait for the next `meter stripe`" if waiting else ""
        return f" So does what was sent to Stripe: {self._delivered:,} images{later}."


def _month(at_s: int) -> str:
    return (iso(at_s * MICROSECONDS) or "")[:7]
