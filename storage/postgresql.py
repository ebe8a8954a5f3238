"""Sets up connections to PostgreSQL, directly or through a pooler.

Timeouts and planner settings are set when a connection starts. A pooler that assigns a server connection for one
transaction only (the transaction mode of pgbouncer) refuses or ignores such settings. They are then set at the start of
each transaction, and no statement is prepared on the server, since the next transaction may use another connection.
"""

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

STATEMENT_TIMEOUT_MS = 5000
CONNECT_TIMEOUT_S = 3
# A database of no encoding (SQL_ASCII, where the locale is C) keeps texts as they are sent; others convert them.
_CLIENT_ENCODING = "utf8"
# Every query here should use an index. By the statistics of a table that was empty a moment ago, PostgreSQL would not.
_SETTINGS = {
    "statement_timeout": STATEMENT_TIMEOUT_MS,
    "lock_timeout": STATEMENT_TIMEOUT_MS,
    "enable_seqscan": "off",
}
_SET_LOCAL = "; ".join(f"SET LOCAL {name} = {value}" for name, value in _SETTINGS.items())


def engine(url: URL, connections: int) -> Engine:
    """Create an engine.

    A server that is down is noticed within seconds, whether it refuses connections or is silent, so that callers get
    their 503.

    Args:
        url: the URL of the database.
        connections: the size of the connection pool.
    """
    created = create_engine(
        url.set(drivername="postgresql+psycopg").difference_update_query(["options"]),
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "tcp_user_timeout": STATEMENT_TIMEOUT_MS,
            "client_encoding": _CLIENT_ENCODING,
        },
        # The server may have another default. A request that has waited for its user's lock must see what others wrote.
        isolation_level="READ COMMITTED",
        pool_size=connections,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
    )
    _SessionSettings(created, str(url.query.get("options", "")))
    return created


class _SessionSettings:
    """Applies the settings to the connections of an engine, and detects a pooler.

    Args:
        engine: the engine.
        options: the settings in the operator's URL, such as `-csearch_path=app`. With them, the settings are
            never left to each transaction, since the operator's own would be lost.
    """

    def __init__(self, engine: Engine, options: str) -> None:
        self._options = options
        self._is_pooled = False
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "begin", self._begin)

    def _connect(self, dialect: Any, _record: object, arguments: list[Any], named: dict[str, Any]) -> Any:
        """Connect as SQLAlchemy's event `do_connect` asks for; return the driver's connection."""
        if not self._is_pooled:
            connection = self._connect_with_settings(dialect, arguments, named)
            if connection is not None:
                return connection
            self._is_pooled = True
        return dialect.connect(*arguments, **{**named, "prepare_threshold": None})

    def _connect_with_settings(self, dialect: Any, arguments: list[Any], named: dict[str, Any]) -> Any | None:
        """Return a connection with the settings; None if a pooler refuses or ignores them."""
        settings = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
        # PostgreSQL uses the last value of a setting, so the operator's come last.
        options = f"{settings} {self._options}".strip()
        try:
            connection = dialect.connect(*arguments, **{**named, "options": options})
        except dialect.loaded_dbapi.OperationalError as error:
            if "unsupported startup parameter" in str(error) and not self._options:
                return None
            raise
        if self._options or _has_settings(connection):
            return connection
        connection.close()
        return None

    def _begin(self, connection: Connection) -> None:
        if self._is_pooled:
            connection.exec_driver_sql(_SET_LOCAL)


def _has_settings(connection: Any) -> bool:
    """Return whether the server applied the settings."""
    row = connection.execute("SELECT setting FROM pg_settings WHERE name = 'statement_timeout'").fetchone()
    connection.rollback()
    return bool(row and int(row[0]) == STATEMENT_TIMEOUT_MS)
