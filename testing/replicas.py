"""Starts one or several servers with the same stores, and reads the stores."""

import sqlite3
from typing import Any

import redis as redis_client
import sqlalchemy

from testing.callers import Key
from testing.history import LoggedRow
from testing.servers import Server
from testing.store_servers import RedisServer


class Replicas:
    """Servers that share a database, and Redis if one is given."""

    def __init__(self, servers: list[Server], redis: RedisServer | None = None) -> None:
        self.servers = servers
        self.urls = [server.url for server in servers]
        self._redis = redis

    def start(self) -> None:
        """Start one server after the other."""
        for server in self.servers:
            server.start()

    def stop(self) -> None:
        """Stop one server after the other; each must end with status 0."""
        for server in self.servers:
            assert server.stop() == 0

    def new_key(self, email: str, *options: str) -> Key:
        """Create a key; `options` are those of `python -m auth create`."""
        return Key.of(self.servers[0].create_key(email, *options))

    def usage_log(self) -> list[LoggedRow]:
        """Return all rows of the usage log."""
        rows = self._select("SELECT request_id, user_id, status, images, billable, key_id FROM usage_log")
        return [LoggedRow(*row) for row in rows]

    def hits(self) -> dict[str, int]:
        """Return the number of hits of each user, from Redis if there is one, else from the database."""
        if self._redis is None:
            return dict(self._select("SELECT user_id, count(*) FROM hits GROUP BY user_id"))
        with redis_client.Redis.from_url(self._redis.url, decode_responses=True) as client:
            return {name.rpartition(":")[2]: client.zcard(name) for name in client.keys("classifier:hits:*")}

    def _select(self, query: str) -> list[Any]:
        url = self.servers[0].environment["CLASSIFIER_DATABASE_URL"]
        if url.startswith("sqlite"):
            connection = sqlite3.connect(url.removeprefix("sqlite:///"))
            rows = connection.execute(query).fetchall()
            connection.close()
            return rows
        engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as opened:
            found = [tuple(row) for row in opened.execute(sqlalchemy.text(query))]
        engine.dispose()
        return found
