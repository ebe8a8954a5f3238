"""The current time in the unit that storage uses, and times as people and programs read them."""

import time
from datetime import UTC, datetime

from sqlalchemy import text

from storage.sqlite import Transaction

# Microseconds in a second.
MICROSECONDS = 1_000_000

_select_server_time = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")


def unix_us() -> int:
    """Returns the Unix time in microseconds."""
    return time.time_ns() // 1000


def server_now_us(connection: Transaction) -> int:
    """Returns the Unix time of the PostgreSQL server in microseconds; all replicas share it, and their own differ."""
    row = connection.execute(_select_server_time, {}).fetchone()
    assert row is not None
    return int(row[0])


def iso(unix_us: int | None) -> str | None:
    """Returns a time, Unix microseconds, in ISO 8601 with whole seconds; None for None."""
    if unix_us is None:
        return None
    return datetime.fromtimestamp(unix_us / MICROSECONDS, UTC).isoformat(timespec="seconds")
