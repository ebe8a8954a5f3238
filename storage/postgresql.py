"""PostgreSQL: how its connections are set up, directly or through a pooler.

What questions may take, and how they are planned, is set as a connection starts. A pooler that lends a server's
connection for one transaction (pgbouncer's transaction mode) refuses or passes over what is set then: where it did, it
is set at the start of each transaction, and no statement is prepared, since the next would run on another connection.
"""

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

STATEMENT_TIMEOUT_MS = 5000
CONNECT_TIMEOUT_S = 3
# Every question here is one for an index; statistics of a table that was just empty would say otherwise.
_SETTINGS = {
    "statement_timeout": STATEMENT_TIMEOUT_MS,
    "lock_timeout": STATEMENT_TIMEOUT_MS,
    "enable_seqscan": "off",
}
_SET_LOCAL = "; ".join(f"SET LOCAL {name} = {value}" for name, value in _SETTINGS.items())


def engine(url: URL, connections: int) -> Engine:
    """An engine on that database, of so many connections.

    A server that is gone is told within seconds, whether it refuses or is silent, so that callers get their 503.
    """
    made = create_engine(
        url.set(drivername="postgresql+psycopg").difference_update_query(["options"]),
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "tcp_user_timeout": STATEMENT_TIMEOUT_MS},
        pool_size=connections,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
    )
    _Sessions(made, str(url.query.get("options", "")))
    return made


class _Sessions:
    """Sets up the connections of an engine.

    Args:
        of: the engine.
        options: what the operator's URL has set when a connection starts, such as `-csearch_path=app`.
    """

    def __init__(self, of: Engine, options: str) -> None:
        self._options = options
        self._is_pooled = False
        event.listen(of, "do_connect", self._connect)
        event.listen(of, "begin", self._begin)

    def _connect(self, dialect: Any, _record: object, arguments: list[Any], named: dict[str, Any]) -> Any:
        if not self._is_pooled:
            ours = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
            try:
                # What is said last counts: the operator's.
                connection = dialect.connect(*arguments, **{**named, "options": f"{ours} {self._options}".strip()})
            except dialect.loaded_dbapi.OperationalError as error:
                if "unsupported startup parameter" not in str(error) or self._options:
                    raise
                self._is_pooled = True
            else:
                self._is_pooled = not self._options and not _is_set_up(connection)
                if self._is_pooled:
                    connection.close()
                else:
                    return connection
        return dialect.connect(*arguments, **{**named, "prepare_threshold": None})

    def _begin(self, connection: Connection) -> None:
        if self._is_pooled:
            connection.exec_driver_sql(_SET_LOCAL)


def _is_set_up(connection: Any) -> bool:
    """Whether the server heard what was set as the connection started."""
    row = connection.execute("SELECT setting FROM pg_settings WHERE name = 'statement_timeout'").fetchone()
    connection.rollback()
    return bool(row and int(row[0]) == STATEMENT_TIMEOUT_MS)
