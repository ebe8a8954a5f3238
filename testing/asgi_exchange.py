"""Sends one HTTP request to an ASGI app, message by message, for tests of chunks, pace and disconnects.

`httpx.ASGITransport` can't do that: it sends a body at once, and never disconnects before the answer.
"""

import asyncio
from collections.abc import Mapping

import httpx
from starlette.types import ASGIApp, Message, Scope

from testing.clock import GIVE_UP_AFTER_S


class Exchange:
    """One request, whose body a test sends chunk by chunk. Needs a running event loop: it starts the app at once.

    Args:
        app: the ASGI app.
        method: the HTTP method.
        path: the path as it comes over the wire, percent-encoded.
        headers: the headers of the request.
        address: the client's address.
    """

    def __init__(
        self, app: ASGIApp, method: str, path: str, headers: Mapping[str, str], address: str = "192.0.2.1"
    ) -> None:
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._is_receiving = False
        self._changed = asyncio.Event()
        self._outgoing: list[Message] = []
        self._looked_at = 0
        self._task = asyncio.create_task(self._run(app, _scope(method, path, headers, address)))

    @property
    def is_over(self) -> bool:
        """Whether the app has returned."""
        return self._task.done()

    def send(self, chunk: bytes, more: bool = True) -> None:
        """Send a chunk of the body; the last one has `more` False."""
        self._incoming.put_nowait({"type": "http.request", "body": chunk, "more_body": more})

    def disconnect(self) -> None:
        """Disconnect."""
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def app_waits(self) -> None:
        """Return once the app has taken every message that was sent and waits for the next, or has returned."""
        async with asyncio.timeout(GIVE_UP_AFTER_S):
            while not self._task.done() and not (self._is_receiving and self._incoming.empty()):
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait([changed, self._task], return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()

    async def message(self) -> Message:
        """Return the next message of the answer, once the app has sent it; the first is its start."""
        async with asyncio.timeout(GIVE_UP_AFTER_S):
            while self._looked_at == len(self._outgoing):
                self._changed.clear()
                await self._changed.wait()
        self._looked_at += 1
        return self._outgoing[self._looked_at - 1]

    async def answer(self) -> httpx.Response:
        """Return the whole answer once the app has returned; raises what the app raised."""
        async with asyncio.timeout(GIVE_UP_AFTER_S):
            await self._task
        start, *bodies = self._outgoing
        content = b"".join(message.get("body", b"") for message in bodies)
        return httpx.Response(start["status"], headers=start["headers"], content=content)

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self._receive, self._record)

    async def _receive(self) -> Message:
        self._is_receiving = True
        self._changed.set()
        try:
            return await self._incoming.get()
        finally:
            self._is_receiving = False

    async def _record(self, message: Message) -> None:
        self._outgoing.append(message)
        self._changed.set()


def _scope(method: str, path: str, headers: Mapping[str, str], address: str) -> Scope:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": httpx.URL(f"http://host{path}").path if path.isprintable() else path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": (address, 50_000),
        "server": ("testserver", 80),
    }
