"""The commands with which an owner charges through Stripe."""

import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

from auth.cli import meter_run, reports
from auth.cli.actor import actor
from auth.cli.answer import Answer, Context, record
from auth.cli.meter_run import Report
from auth.cli.progress import Progress
from auth.cli.table import Table
from storage import customers, metering, outbox, users
from storage.clock import MICROSECONDS, iso, unix_us
from storage.errors import Refused
from storage.metering import KIND, hour


def set_customer(context: Context, *, user: str, customer: str | None, since: int | None) -> Answer:
    """Set the Stripe customer of a user. `since` is the first hour to send, Unix seconds."""
    change = partial(customers.assign, name=user, customer=customer, from_s=since, now_us=unix_us(), actor=actor())
    changed = context.database.change(change)
    if changed.stripe_from_s is None:
        return Answer(reports.user(changed), f"Nothing of {changed.email} is sent to Stripe any more.")
    told = f"{iso(changed.stripe_from_s * MICROSECONDS)} on"
    text = f"The images of {changed.email} are sent to Stripe for {changed.stripe_customer}, from {told}."
    return Answer(reports.user(changed), text)


def stripe(context: Context, *, dry_run: bool) -> Answer:
    """Send the billable images of each hour that has ended to Stripe, each counted once."""
    if dry_run:
        return _what_would_be_sent(context)
    key = context.settings.stripe_key
    if key is None or not key.get_secret_value():
        raise Refused("There is no key for Stripe; set CLASSIFIER_STRIPE_KEY, or use --dry-run.")
    # Imported here, since it loads Stripe's library, which takes a second.
    from auth.cli.stripe_sender import StripeSender

    problems = meter_run.write(context.database, unix_us())
    settings = context.settings
    with closing(StripeSender(key.get_secret_value(), settings.stripe_meter, settings.stripe_api)) as sender:
        report = meter_run.send(context.database, sender, tell=_teller(context))
    problems += report.failures
    if problems:
        more = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
        raise Refused(f"{_sent(report)} Others were not: {problems[0].rstrip('.')}{more}.")
    return _told(context, {"events": report.sent, "images": report.images}, _sent(report))


def _sent(report: Report) -> str:
    return f"{report.sent:,} events about {report.images:,} images were sent to Stripe."


def _teller(context: Context) -> Callable[[Report], None]:
    """Return a function that shows the progress on a terminal, now and then."""
    due = context.database.ask(partial(outbox.count_due, kind=KIND, now_us=unix_us()))
    progress = Progress(is_shown=sys.stderr.isatty())
    return lambda report: progress.show(f"{report.sent:,} of {due:,} events ...")


def _what_would_be_sent(context: Context) -> Answer:
    now_us = unix_us()
    counts = meter_run.uncounted(context.database, now_us)
    rows = [
        {"user_id": row.user_id, "hour": hour(row.period_s), "images": row.value, "identifier": row.identifier}
        for row in context.database.ask(metering.due_messages)
    ]
    rows += [
        {"user_id": one.user_id, "hour": hour(one.hour_s), "images": one.images, "identifier": one.identifier}
        for one in counts
    ]
    images = sum(row["images"] for row in rows)
    text = f"{len(rows):,} events about {images:,} images would be sent to Stripe."
    shown = Table(("USER", "HOUR", "IMAGES", "IDENTIFIER"), [[str(value) for value in row.values()] for row in rows])
    return _told(context, {"would_send": rows, "images": images}, text, (shown,) if rows else ())


def _told(context: Context, document: dict[str, Any], text: str, tables: tuple[Table, ...] = ()) -> Answer:
    """Return the answer, and name in it the users who have a plan with a price but no customer at Stripe."""
    missing = context.database.ask(customers.missing)
    if not missing:
        return Answer(document, text, tables)
    who = f"User {missing[0]} has" if len(missing) == 1 else f"{len(missing):,} users, such as {missing[0]}, have"
    notice = f"{who} a plan with a price but no customer at Stripe, so none of the images are sent; see set-customer."
    return Answer(document | {"without_customer": missing}, f"{text} {notice}", tables)


def resolve(context: Context, *, user: str, was_counted: bool) -> Answer:
    """Note whether Stripe has counted events that were given up: all of a user, or the one with an identifier."""

    def change(connection: Any) -> list[metering.GivenUp]:
        name = user if "/" in user else users.require(connection, user).user_id
        found = metering.given_up(connection, name)
        for one in found:
            metering.resolve(connection, one.identifier, was_counted, unix_us())
            detail = {"identifier": one.identifier, "images": one.images, "was_counted": was_counted}
            record(connection, "resolve-event", one.user_id, None, detail)
        return found

    found = context.database.change(change)
    if not found:
        raise Refused(f"No event of {user} was given up.")
    images = sum(one.images for one in found)
    then = "were counted" if was_counted else "were not counted; the next `meter stripe` sends them"
    return Answer({"events": len(found), "images": images}, f"Noted: {images:,} images {then}.")
