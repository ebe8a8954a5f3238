"""Pages of users and keys, the oldest first, of plans, by name, and of the audit log, in either order."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, func, or_, select, tuple_
from sqlalchemy.sql.elements import ColumnElement

from storage import key_record, user_record
from storage import plans as plan_records
from storage.audit import Entry
from storage.errors import Refused
from storage.key_record import KeyRecord
from storage.models import api_keys, audit_log, plans, users
from storage.plans import Plan
from storage.user_record import User, in_lower_case

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Selects a page.

    Attributes:
        after: the id, or the name of a plan, of the last one of the page before; None: from the beginning.
        most: the largest number to return.
    """

    after: str | None
    most: int


@dataclass(frozen=True, slots=True)
class NumberedEntry:
    """An entry of the audit log, with its number in it."""

    number: int
    entry: Entry


def page_of_users(connection: Connection, page: Page, email: str | None) -> tuple[list[User], str | None]:
    """Return a page of all users, or of those with this address.

    Returns:
        The users, and the id to go on after; None on the last page.

    Raises:
        Refused: there is no user of the id `page.after`.
    """
    query = user_record.select_users.where(*_after(connection, users, page))
    if email is not None:
        query = query.where(_has_address(email))
    rows = connection.execute(query.order_by(users.c.created_us, users.c.id).limit(page.most + 1)).all()
    return _page([user_record.from_row(row) for row in rows], page, lambda user: user.user_id)


def page_of_keys(
    connection: Connection, page: Page, user: str | None, state: str | None, now_us: int
) -> tuple[list[KeyRecord], str | None]:
    """Return a page of all keys.

    Args:
        connection: a connection.
        page: which page.
        user: only keys of the user of this id or address; None: of all users.
        state: only keys that are `live`, `revoked`, `expired` or `disabled`; None: all.
        now_us: the time, Unix microseconds.

    Returns:
        The keys, and the id to go on after; None on the last page.

    Raises:
        Refused: there is no key of the id `page.after`.
    """
    query = key_record.select_records.where(*_after(connection, api_keys, page))
    if user is not None:
        query = query.where(_has_address(user) if "@" in user else users.c.id == user)
    if state is not None:
        query = query.where(key_record.state_column(now_us) == state)
    rows = connection.execute(query.order_by(api_keys.c.created_us, api_keys.c.id).limit(page.most + 1)).all()
    return _page([key_record.from_row(row) for row in rows], page, lambda key: key.key_id)


def page_of_plans(connection: Connection, page: Page) -> tuple[list[Plan], str | None]:
    """Return a page of all plans, by name.

    Returns:
        The plans, and the name to go on after; None on the last page.
    """
    query = select(plans.c.name).order_by(plans.c.name).limit(page.most + 1)
    if page.after is not None:
        query = query.where(plans.c.name > page.after)
    found = [plan_records.require(connection, name) for name in connection.scalars(query).all()]
    return _page(found, page, lambda plan: plan.name)


def page_of_audit_log(
    connection: Connection, after: int | None, most: int, *, newest_first: bool
) -> tuple[list[NumberedEntry], int | None]:
    """Return a page of the audit log.

    Args:
        connection: a connection.
        after: the number of the last entry of the page before; None: from the beginning.
        most: the largest number to return.
        newest_first: from the newest entry to the oldest, in place of the other way.

    Returns:
        The entries, and the number to go on after; None on the last page.
    """
    number = audit_log.c.id
    query = select(audit_log).order_by(number.desc() if newest_first else number).limit(most + 1)
    if after is not None:
        query = query.where(number < after if newest_first else number > after)
    found = [
        NumberedEntry(row.id, Entry(row.at_us, row.actor, row.action, row.user_id, row.key_id, json.loads(row.detail)))
        for row in connection.execute(query)
    ]
    return found[:most], found[most - 1].number if len(found) > most else None


def _has_address(email: str) -> ColumnElement[bool]:
    folded = in_lower_case(email)
    # Earlier versions stored addresses in upper case too.
    return or_(users.c.email == folded, func.lower(users.c.email) == folded)


def _after(connection: Connection, table: Any, page: Page) -> list[ColumnElement[bool]]:
    if page.after is None:
        return []
    last_us = connection.scalar(select(table.c.created_us).where(table.c.id == page.after))
    if last_us is None:
        raise Refused("there is no such page; send the 'next_cursor' of the page before")
    return [tuple_(table.c.created_us, table.c.id) > tuple_(last_us, page.after)]


def _page(found: list[T], page: Page, id_of: Any) -> tuple[list[T], str | None]:
    shown: Sequence[T] = found[: page.most]
    return list(shown), id_of(shown[-1]) if len(found) > page.most else None
