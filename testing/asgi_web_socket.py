"""Opens a WebSocket to an ASGI app, and sends and receives its messages as an ASGI server would."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from starlette.types import ASGIApp, Message

from testing.clock import GIVE_UP_AFTER_S
from testing.waiting import eventually


class WebSocket:
    """One WebSocket. Needs a running event loop: it starts the app at once.

    Args:
        app: the ASGI app.
        path: the path, with a query if there is one.
        headers: the headers of the handshake.
        protocols: the subprotocols that are offered.
        address: the client's address.

    Attributes:
        holds: what the app gave the server to ask how many bytes it may hold.
    """

    def __init__(
        self,
        app: ASGIApp,
        path: str,
        headers: Mapping[str, str],
        *,
        protocols: Sequence[str] = (),
        address: str = "192.0.2.1",
    ) -> None:
        url = httpx.URL(f"http://testserver{path}")
        scope = {
            "type": "websocket",
            "http_version": "1.1",
            "scheme": "ws",
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "root_path": "",
            "headers": [
                (b"host", b"testserver"),
                *((name.lower().encode(), value.encode()) for name, value in headers.items()),
            ],
            "subprotocols": [*protocols],
            "client": (address, 50_000),
            "server": ("testserver", 80),
            "extensions": {"websocket.http.response": {}},
        }
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._outgoing: asyncio.Queue[Message] = asyncio.Queue()
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._incoming.put_nowait({"type": "websocket.connect"})
        self.holds: Any = None
        self._is_sending = False
        self._task = asyncio.ensure_future(app(scope, self._incoming.get, self._take))

    async def accepted(self) -> Message:
        """Return the message that accepts the handshake."""
        message = await self.next()
        assert message["type"] == "websocket.accept", message
        self.holds = message["holds"]
        return message

    async def refused(self) -> httpx.Response:
        """Return the HTTP answer that refuses the handshake."""
        start, body = await self.next(), await self.next()
        assert start["type"] == "websocket.http.response.start", start
        return httpx.Response(start["status"], headers=start["headers"], content=body["body"])

    async def ask(self, message: bytes | str) -> dict[str, Any]:
        """Send a message, and return its answer."""
        self.send(message)
        return await self.answer()

    def send(self, message: bytes | str) -> None:
        """Send a message."""
        kind = "bytes" if isinstance(message, bytes) else "text"
        self._incoming.put_nowait({"type": "websocket.receive", kind: message})

    async def answer(self) -> dict[str, Any]:
        """Return the next answer."""
        message = await self.next()
        assert message["type"] == "websocket.send", message
        answer = json.loads(message["text"])
        assert isinstance(answer, dict)
        return answer

    async def closed(self) -> int:
        """Return the code with which the app closes the WebSocket next; it returns after that."""
        message = await self.next()
        assert message["type"] == "websocket.close", message
        await self.ended()
        return int(message["code"])

    def stop_reading(self) -> None:
        """Read nothing: the app waits in `send` from now on."""
        self._may_send.clear()

    def read_again(self) -> None:
        """Read again."""
        self._may_send.set()

    @property
    def unreceived(self) -> int:
        """How many messages the app has not received yet."""
        return self._incoming.qsize()

    async def app_waits_to_send(self) -> None:
        """Return once the app waits until the client reads."""
        await eventually(lambda: self._is_sending, "the app waits until the client reads")

    def leave(self) -> None:
        """Disconnect."""
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def ended(self) -> None:
        """Return once the app has returned; raises what it raised."""
        async with asyncio.timeout(GIVE_UP_AFTER_S):
            await self._task

    async def next(self) -> Message:
        """Return the next message of the app."""
        async with asyncio.timeout(GIVE_UP_AFTER_S):
            return await self._outgoing.get()

    async def _take(self, message: Message) -> None:
        self._is_sending = True
        try:
            await self._may_send.wait()
        finally:
            self._is_sending = False
        self._outgoing.put_nowait(message)
