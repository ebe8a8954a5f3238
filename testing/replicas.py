"""One or several servers over the same stores, and what is in those afterwards."""

import sqlite3
from typing import Any

import redis as redis_client
import sqlalchemy

from testing.callers import Key
from testing.history import LoggedRow
from testing.servers import Server
from testing.store_servers import RedisServer


class Replicas:
    """Servers that share a database, and Redis where it is given."""

    def __init__(self, servers: list[Server], redis: RedisServer | None = None) -> None:
        self.servers = servers
        self.urls = [server.url for server in servers]
        self._redis = redis

    def start(self) -> None:
        for server in self.servers:
            server.start()

    def stop(self) -> None:
        for server in self.servers:
            assert server.stop() == 0

    def new_key(self, email: str, *options: str) -> Key:
        return Key.of(self.servers[0].create_key(email, *options))

    def usage_log(self) -> list[LoggedRow]:
        rows = self._ask("SELECT request_id, user_id, status, images FROM usage_log")
        return [LoggedRow(*row) for row in rows]

    def hits(self) -> dict[str, int]:
        if self._redis is None:
            return dict(self._ask("SELECT user_id, count(*) FROM hits GROUP BY user_id"))
        with redis_client.Redis.from_url(self._redis.url, decode_responses=True) as client:
            return {name.rpartition(":")[2]: client.zcard(name) for name in client.keys("classifier:hits:*")}

    def _ask(self, question: str) -> list[Any]:
        url = self.servers[0].environment["CLASSIFIER_DATABASE_URL"]
        if url.startswith("sqlite"):
            connection = sqlite3.connect(url.removeprefix("sqlite:///"))
            rows = connection.execute(question).fetchall()
            connection.close()
            return rows
        engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as opened:
            found = [tuple(row) for row in opened.execute(sqlalchemy.text(question))]
        engine.dispose()
        return found
