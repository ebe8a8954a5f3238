"""Reads the time by a given clock, or by that of the PostgreSQL server, which all replicas share."""

from collections.abc import Callable

from sqlalchemy import text

from storage.sqlite import Transaction

# Returns the Unix time in microseconds. None: use the clock of the PostgreSQL server, since those of replicas differ.
Clock = Callable[[], int] | None

_select_server_time = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")


def read_clock_us(connection: Transaction, clock_us: Clock) -> int:
    """Return the Unix time in microseconds."""
    if clock_us is not None:
        return clock_us()
    row = connection.execute(_select_server_time, {}).fetchone()
    assert row is not None
    return int(row[0])
