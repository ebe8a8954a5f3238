"""Limits the open connections of a worker: closes the longest idle one for a new one, and checks timeouts."""

import asyncio
import resource
from collections import OrderedDict
from typing import Protocol, cast
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

MOST_OPEN = 1_000
# Connections in a lingering close.
MOST_LINGERING = 100
# Open files of a worker that are not callers' connections: the database, the log, the model.
OTHER_FILES = 256
_of_servers: WeakKeyDictionary[ServerState, "Connections"] = WeakKeyDictionary()


class Connection(Protocol):
    """The part of a connection that `Connections` uses."""

    def abort(self) -> None:
        """Close the connection at once."""

    def check_timeouts(self) -> None:
        """Close the connection if it has waited too long for something."""


class Connections:
    """Keeps two lists, the idle connections and the lingering ones, each with the longest idle or lingering one first.

    A connection is idle while it waits for a request or for the rest of its headers. It lingers after its last answer.

    Args:
        server: uvicorn's state, which holds all open connections.
        most: the most connections that may be open; lingering ones are not counted.
    """

    def __init__(self, server: ServerState, most: int) -> None:
        self._server = server
        self._most = most
        self._idle: OrderedDict[Connection, None] = OrderedDict()
        self._lingering: OrderedDict[Connection, None] = OrderedDict()
        self._is_ticking = False
        # Seconds in which the event loop ran: while a worker is stopped, the timeouts of its callers stand still.
        self.now_s = 0

    def admit(self, connection: Connection) -> bool:
        """Add a new connection, which counts as idle; return False if all connections are busy."""
        self._idle[connection] = None
        if not self._is_ticking:
            self._is_ticking = True
            asyncio.get_running_loop().call_later(1, self._tick)
        if len(self._server.connections) - len(self._lingering) > self._most:
            longest_idle = next(iter(self._idle))
            if longest_idle is connection:
                return False
            self.forget(longest_idle)
            longest_idle.abort()
        return True

    def note_idle(self, connection: Connection) -> None:
        """Note that a connection waits for its next request."""
        self._lingering.pop(connection, None)
        self._idle[connection] = None

    def note_busy(self, connection: Connection) -> None:
        """Note that a connection has a request under way."""
        self._idle.pop(connection, None)

    def note_lingering(self, connection: Connection) -> None:
        """Note that a connection has its last answer, and lingers."""
        self._idle.pop(connection, None)
        self._lingering[connection] = None
        if len(self._lingering) > MOST_LINGERING:
            longest, _ = self._lingering.popitem(last=False)
            longest.abort()

    def forget(self, connection: Connection) -> None:
        """Remove a closed connection."""
        self._idle.pop(connection, None)
        self._lingering.pop(connection, None)

    def _tick(self) -> None:
        # One timer for all connections: a timer for each request would cost more than everything else here.
        self.now_s += 1
        for connection in cast(list[Connection], list(self._server.connections)):
            connection.check_timeouts()
        self._is_ticking = bool(self._server.connections)
        if self._is_ticking:
            asyncio.get_running_loop().call_later(1, self._tick)


def of(server: ServerState) -> Connections:
    """Return the connections of a server; made at the first call."""
    if server not in _of_servers:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MOST_OPEN if files == resource.RLIM_INFINITY else max(1, min(MOST_OPEN, files - OTHER_FILES))
        _of_servers[server] = Connections(server, most)
    return _of_servers[server]


def raise_file_limit() -> None:
    """Raise the limit of open files to what this process may need; many systems start with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_OPEN if hard == resource.RLIM_INFINITY else min(2 * MOST_OPEN, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
