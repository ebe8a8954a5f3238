"""Says which customer of Stripe each user is, and from when on its images are sent. Each change is on the audit log."""

from typing import NamedTuple

from sqlalchemy import Connection, or_, select, update

from storage import audit, metering
from storage import users as all_users
from storage.audit import Entry
from storage.clock import LAST_SECOND, MICROSECONDS, iso
from storage.errors import Refused
from storage.metering import HOUR_S, OLDEST_S
from storage.models import plan_prices, users
from storage.user_record import User


class Customer(NamedTuple):
    """A user whose images are sent.

    Attributes:
        user_id: the user.
        customer: the customer that Stripe knows the user by.
        from_s: the start of the first hour that is sent, Unix seconds.
    """

    user_id: str
    customer: str
    from_s: int


def every(connection: Connection) -> list[Customer]:
    """Return all users whose images are sent."""
    columns = (users.c.id, users.c.stripe_customer, users.c.stripe_from_s)
    known = select(*columns).where(users.c.stripe_customer.is_not(None), users.c.stripe_from_s.is_not(None))
    return [Customer(*row) for row in connection.execute(known.order_by(users.c.id))]


def find(connection: Connection, user_id: str) -> Customer | None:
    """Return the customer of a user, and lock it until the transaction ends; None if the user has none."""
    columns = (users.c.id, users.c.stripe_customer, users.c.stripe_from_s)
    # PostgreSQL: waits for `assign` and makes it wait, but not the requests of the user.
    of_user = select(*columns).where(users.c.id == user_id).with_for_update(read=True, key_share=True)
    row = connection.execute(of_user).one_or_none()
    return None if row is None or row.stripe_customer is None or row.stripe_from_s is None else Customer(*row)


def missing(connection: Connection) -> list[str]:
    """Return the ids of the users who have a plan with a price and no customer, without disabled and erased users."""
    priced = select(plan_prices.c.plan).where(plan_prices.c.nanos > 0)
    left_out = (users.c.stripe_customer.is_not(None), users.c.disabled_us.is_not(None), users.c.email == users.c.id)
    found = select(users.c.id).where(users.c.plan.in_(priced), ~or_(*left_out)).order_by(users.c.id)
    return list(connection.scalars(found))


def wrong_hour(from_s: int, now_s: int) -> str | None:
    """Return why an hour can't be the first one that is sent; None if it can. Both are Unix seconds."""
    if from_s % HOUR_S:
        return "write the start of an hour, such as 2026-11-01T00:00Z"
    if from_s < now_s - OLDEST_S:
        oldest = iso((now_s - OLDEST_S + HOUR_S) // HOUR_S * HOUR_S * MICROSECONDS)
        return f"Stripe takes nothing older than 35 days; write {oldest} or later"
    if from_s > LAST_SECOND:
        return "write a time before the year 10000, in UTC"
    return None


def assign(
    connection: Connection, name: str, customer: str | None, from_s: int | None, now_us: int, actor: str
) -> User:
    """Set the Stripe customer of a user, and return the user.

    Args:
        connection: in a write transaction.
        name: the user's address or id.
        customer: the customer; None: nothing is sent any more.
        from_s: the start of the first hour to send, Unix seconds; None: as it was, or else the next hour.
        now_us: the time, Unix microseconds.
        actor: who makes the change.

    Raises:
        Refused: there is no such user, the user is erased, or the hour can't be sent.
    """
    user = all_users.require_for_change(connection, name)
    now_s = now_us // MICROSECONDS
    if customer is None:
        from_s = None
    elif from_s is None:
        # Not this hour: what was used before the customer is named is not billed unless asked.
        from_s = user.stripe_from_s if user.stripe_from_s is not None else (now_s // HOUR_S + 1) * HOUR_S
    elif (wrong := wrong_hour(from_s, now_s)) is not None:
        raise Refused(f"The time of the first images to send is wrong: {wrong}.")
    changed = {"stripe_customer": customer, "stripe_from_s": from_s}
    connection.execute(update(users).where(users.c.id == user.user_id).values(changed))
    if (customer, from_s) != (user.stripe_customer, user.stripe_from_s):
        metering.withdraw(connection, user.user_id)
    detail = {
        "email": user.email,
        "stripe_customer": customer,
        "stripe_from": None if from_s is None else iso(from_s * MICROSECONDS),
        "old_stripe_customer": user.stripe_customer,
    }
    audit.record(connection, Entry(now_us, actor, "set-customer", user.user_id, None, detail))
    return all_users.require(connection, user.user_id)
