"""The connections of a worker: how many there may be, which goes for a newcomer, and a look at each every second."""

import asyncio
import resource
from collections import OrderedDict
from typing import Protocol, cast
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

MOST_OPEN = 1_000
# Those that have their last answer, and are still sending.
MOST_LEAVING = 100
# Files that a worker has open beside its callers' connections: the database, the log, the model.
OTHER_FILES = 256
_of_servers: WeakKeyDictionary[ServerState, "Connections"] = WeakKeyDictionary()


class Connection(Protocol):
    """What `Connections` needs of a connection."""

    def cut(self) -> None:
        """Close it at once."""

    def look_after(self) -> None:
        """Close it, where what it waits for has taken too long."""


class Connections:
    """Knows which connections are idle, in the order in which they became so, and which are leaving.

    Idle is a connection that waits for a request, or for the rest of its headers. A leaving one has its last answer.

    Args:
        server: uvicorn's own account of what is open.
        most: how many may be open, without those that are leaving.
    """

    def __init__(self, server: ServerState, most: int) -> None:
        self._server = server
        self._most = most
        self._idle: OrderedDict[Connection, None] = OrderedDict()
        self._leaving: OrderedDict[Connection, None] = OrderedDict()
        self._is_ticking = False
        # Seconds in which the event loop was there to read: a worker that stood still blames no caller for it.
        self.now_s = 0

    def admit(self, connection: Connection) -> bool:
        """Take in a new connection, which counts as idle; false where all are busy."""
        self._idle[connection] = None
        if not self._is_ticking:
            self._is_ticking = True
            asyncio.get_running_loop().call_later(1, self._tick)
        if len(self._server.connections) - len(self._leaving) > self._most:
            longest_idle = next(iter(self._idle))
            if longest_idle is connection:
                return False
            self.forget(longest_idle)
            longest_idle.cut()
        return True

    def is_idle(self, connection: Connection) -> None:
        """It has had its answers, and waits for its next request."""
        self._leaving.pop(connection, None)
        self._idle[connection] = None

    def is_busy(self, connection: Connection) -> None:
        """A request of it is under way."""
        self._idle.pop(connection, None)

    def is_leaving(self, connection: Connection) -> None:
        """It has its last answer, and is given time to read it."""
        self._idle.pop(connection, None)
        self._leaving[connection] = None
        if len(self._leaving) > MOST_LEAVING:
            longest, _ = self._leaving.popitem(last=False)
            longest.cut()

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        self._idle.pop(connection, None)
        self._leaving.pop(connection, None)

    def _tick(self) -> None:
        # One timer for all of them: one for each request would cost more than the rest of what is done here.
        self.now_s += 1
        for connection in cast(list[Connection], list(self._server.connections)):
            connection.look_after()
        self._is_ticking = bool(self._server.connections)
        if self._is_ticking:
            asyncio.get_running_loop().call_later(1, self._tick)


def of(server: ServerState) -> Connections:
    """Those of that server."""
    if server not in _of_servers:
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MOST_OPEN if files == resource.RLIM_INFINITY else max(1, min(MOST_OPEN, files - OTHER_FILES))
        _of_servers[server] = Connections(server, most)
    return _of_servers[server]


def allow_files() -> None:
    """Have this process open as many files as it may need; many systems give 1,024 unless asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_OPEN if hard == resource.RLIM_INFINITY else min(2 * MOST_OPEN, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
