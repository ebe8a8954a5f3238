"""Fills a database with a usage log of any length, quickly: the rows are made by the database."""

from sqlalchemy import Connection, create_engine, text

from storage.clock import unix_us
from storage.tally import bin_of

USERS = 20
DAYS = 90
TIMES_MS = (4.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 14.0, 18.0, 25.0, 60.0, 250.0)

_FILL = """
INSERT INTO usage_log (request_id, user_id, key_id, endpoint, method, status, response_ms, at_us, images)
WITH {numbers}, timed(i, ms) AS (VALUES {times})
SELECT 'req_old' || n, CASE WHEN n % 2 = 0 THEN 'usr_0' ELSE 'usr_' || (1 + (n / 2) % {others}) END, 'key',
  '/v1/classify', 'POST', CASE WHEN n % 50 = 0 THEN 400 ELSE 200 END, ms,
  {begin_us} + n * {step_us}, 1
FROM numbers JOIN timed ON timed.i = (n * 7) % {kinds}
"""
_NUMBERS = {
    "sqlite": "RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {rows})",
    "postgresql": "numbers(n) AS (SELECT generate_series(CAST(0 AS bigint), {rows} - 1))",
}
_ADD_UP = """
INSERT INTO usage_rollup (user_id, width_s, start_s, endpoint, status, admitted, bin, requests, images, total_ms)
WITH binned(ms, bin) AS (VALUES {bins})
SELECT user_id, 60, at_us / 60000000 * 60, endpoint, status, 1, bin, count(*), sum(images), sum(response_ms)
FROM usage_log JOIN binned ON binned.ms = response_ms GROUP BY 1, 3, 4, 5, 7
"""
_ADD_UP_MORE = """
INSERT INTO usage_rollup (user_id, width_s, start_s, endpoint, status, admitted, bin, requests, images, total_ms)
SELECT user_id, {width}, {start}, endpoint, status, 1, bin, sum(requests), sum(images), sum(total_ms)
FROM usage_rollup WHERE width_s = {finer} GROUP BY 1, 3, 4, 5, 7
"""


def fill(connection: Connection, rows: int) -> None:
    """Write this many old rows to the usage log, without their roll-up."""
    kind = connection.dialect.name
    if kind == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        # Without this, PostgreSQL checks ten million times that the user exists, which would take most of the time.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
    span_us = DAYS * 86400 * 1_000_000
    times = ", ".join(f"({number}, CAST({ms} AS float))" for number, ms in enumerate(TIMES_MS))
    statement = _FILL.format(
        numbers=_NUMBERS[kind].format(rows=rows),
        times=times,
        others=USERS - 1,
        kinds=len(TIMES_MS),
        begin_us=unix_us() - span_us,
        step_us=span_us // rows,
    )
    connection.execute(text(statement))


def add_up(connection: Connection) -> None:
    """Write the roll-up of the rows."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
    bins = ", ".join(f"(CAST({ms} AS float), {bin_of(ms)})" for ms in TIMES_MS)
    connection.execute(text(_ADD_UP.format(bins=bins)))
    for finer, width in ((60, 3600), (3600, 86400)):
        start = f"start_s / {width} * {width}"
        connection.execute(text(_ADD_UP_MORE.format(width=width, start=start, finer=finer)))
    connection.execute(text(_ADD_UP_MORE.format(width=0, start="0", finer=86400)))


def settle(url: str) -> None:
    """Have the database do the maintenance that it would already have done if the rows had come one by one."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("VACUUM ANALYZE"))
            connection.execute(text("CHECKPOINT"))
        else:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    engine.dispose()


def add_users(connection: Connection) -> None:
    """Add the users of the rows, and the key that the rows name, in the tables of any release."""
    for number in range(USERS):
        values = {"id": f"usr_{number}", "email": f"user{number}@b"}
        connection.execute(
            text("INSERT INTO users (id, email, limits, created_us) VALUES (:id, :email, '5/minute', 0)"), values
        )
    connection.execute(
        text(
            "INSERT INTO api_keys (id, user_id, secret_sha256, scopes, created_us)"
            " VALUES ('key', 'usr_0', 'hash', 'usage', 0)"
        )
    )
