"""How an answer leaves: headers and body in one write, and nothing of it lost, whatever ends the connection."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.server import ServerState

from runtime.http_protocol import LimitedProtocol
from runtime.lingering_close import MOST_UNSENT_BYTES

pytestmark = pytest.mark.anyio
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that keeps each write, and refuses what comes after it was closed."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 5), "sockname": ("192.0.2.2", 80)})
        self.writes: list[bytes] = []
        self._is_closed = False

    def write(self, data: Any) -> None:
        assert not self._is_closed, "what is written now is lost"
        self.writes.append(bytes(data))

    def close(self) -> None:
        self._is_closed = True

    abort = close

    def is_closing(self) -> bool:
        return self._is_closed

    def resume_reading(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


async def connected(app: ASGIApp) -> tuple[LimitedProtocol, Wire]:
    """Connect to an app."""
    config = Config(app, log_config=None)
    config.load()
    wire, protocol = Wire(), LimitedProtocol(config, ServerState(), {})
    protocol.connection_made(wire)
    return protocol, wire


async def turns(number: int = 20) -> None:
    """Let the event loop go on."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_headers_and_body_are_written_at_once() -> None:
    protocol, wire = await connected(PlainTextResponse("hello"))
    for _ in range(2):
        wire.writes.clear()
        protocol.data_received(GET)
        await turns()
        [written] = wire.writes
        assert written.startswith(b"HTTP/1.1 200 OK\r\n")
        assert written.endswith(b"\r\n\r\nhello")


async def test_the_first_part_of_an_answer_does_not_wait_for_the_second() -> None:
    more = asyncio.Event()

    async def parts() -> Any:
        yield b"one"
        await more.wait()
        yield b"two"

    protocol, wire = await connected(StreamingResponse(parts()))
    protocol.data_received(GET)
    await turns()
    assert b"one" in b"".join(wire.writes)
    more.set()
    await turns()
    assert b"two" in b"".join(wire.writes)


async def test_an_app_that_never_waits_keeps_little_unsent() -> None:
    part = b"x" * 1000

    async def parts() -> Any:
        for _ in range(1000):
            yield part

    protocol, wire = await connected(StreamingResponse(parts()))
    protocol.data_received(GET)
    await turns()
    assert sum(map(len, wire.writes)) > 1000 * len(part)
    assert max(map(len, wire.writes)) < 2 * MOST_UNSENT_BYTES


@pytest.mark.parametrize(
    "end",
    [LimitedProtocol.shutdown, LimitedProtocol.abort, LimitedProtocol.close_after],
    ids=["the worker ends", "the connection is aborted", "the last answer was sent"],
)
async def test_what_was_answered_in_the_turn_in_which_a_connection_ends_is_sent(
    end: Callable[[LimitedProtocol], None],
) -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("hello")(scope, receive, send)
        end(protocol)

    protocol, wire = await connected(answer)
    protocol.data_received(GET)
    await turns()
    assert b"".join(wire.writes).endswith(b"\r\n\r\nhello")


async def test_an_answer_that_closes_the_connection_is_sent_first() -> None:
    protocol, wire = await connected(PlainTextResponse("hello", headers={"Connection": "close"}))
    protocol.data_received(GET)
    await turns()
    [written] = wire.writes
    assert written.endswith(b"hello")
    assert wire.is_closing()
