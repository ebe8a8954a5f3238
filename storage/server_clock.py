"""The time of the PostgreSQL server, which all replicas share."""

from sqlalchemy import text

from storage.sqlite import Transaction

_select_server_time = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")


def server_now_us(connection: Transaction) -> int:
    """Returns the Unix time of the PostgreSQL server in microseconds; the replicas' own clocks differ."""
    row = connection.execute(_select_server_time, {}).fetchone()
    assert row is not None
    return int(row[0])
