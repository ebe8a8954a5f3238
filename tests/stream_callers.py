"""What the tests of streams on a real server share: callers, and what became of their messages."""

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from testing.callers import Key
from testing.history import LoggedRow
from testing.servers import Server

WIDE = ("--limit", "1000000/day")


def new_key(server: Server, name: str, *options: str) -> Key:
    return Key.of(server.create_key(f"{name}@example.org", *(options or WIDE)))


def stream(server: Server, key: Key, query: str = "", **options: Any) -> connect:
    url, headers = f"ws://127.0.0.1:{server.port}/v2/stream{query}", {"Authorization": f"Bearer {key.key}"}
    # A busy machine is slow with a hundred handshakes, and with pongs.
    patient = {"open_timeout": 60, "ping_timeout": 60, **options}
    return connect(url, additional_headers=headers, proxy=None, compression=None, max_size=None, **patient)


async def answer_of(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(60):
        return dict(json.loads(await connection.recv()))


def id_of(answer: dict[str, Any]) -> str:
    return str(answer.get("request_id") or answer["id"])


def usage_log(server: Server, key: Key) -> list[LoggedRow]:
    """The rows of the messages of a user, the oldest first."""
    statement = "SELECT request_id, user_id, status, images FROM usage_log WHERE user_id = ? AND method = 'POST'"
    with closing(sqlite3.connect(server.folder / "classifier.db")) as database:
        return [LoggedRow(*row) for row in database.execute(f"{statement} ORDER BY id", [key.user])]


def hits(server: Server, key: Key) -> int:
    with closing(sqlite3.connect(server.folder / "classifier.db")) as database:
        [(count,)] = database.execute("SELECT count(*) FROM hits WHERE user_id = ?", [key.user]).fetchall()
    return int(count)
