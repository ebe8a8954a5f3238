"""The bounds of a WebSocket connection, on a transport that a test looks at: pace, bytes, and what is not read."""

import asyncio
from typing import Any

import pytest
import wsproto
from uvicorn import Config
from uvicorn.server import ServerState
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong, Request

from runtime.web_socket_protocol import PACE_GRACE_S, UNREAD_S, BoundedWebSocketProtocol, protocol_for

pytestmark = pytest.mark.anyio

MAX_BYTES = 100_000
TOO_SLOW, TOO_LARGE, TRY_LATER = 1008, 1009, 1013


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and whether it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unsent = 0
        self._reads = True
        self.is_aborted = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True

    def is_reading(self) -> bool:
        return self._reads

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def abort(self) -> None:
        self.is_aborted = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Connection:
    """A connection with an app that receives nothing until the test does so in its place."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.caller = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.held: list[int] = []
        self.most_held = MAX_BYTES
        config = Config(self._app, ws="none", log_config=None, lifespan="off")
        config.load()
        self.protocol: BoundedWebSocketProtocol = protocol_for(MAX_BYTES)(config, ServerState(), {})
        self.protocol.connection_made(self.wire)

    async def open(self) -> None:
        """Open the WebSocket; nothing is read before."""
        self.protocol.data_received(self.caller.send(Request(host="it", target="/")))
        assert not self.wire.is_reading()
        assert (await self.protocol.receive())["type"] == "websocket.connect"
        assert not self.wire.is_reading()
        await self.protocol.send({"type": "websocket.accept", "holds": self._may_hold})
        assert self.wire.is_reading()
        self.events()

    def sends(self, event: Event) -> None:
        self.protocol.data_received(self.caller.send(event))

    def events(self) -> list[Event]:
        """What the caller has got since the last call."""
        self.caller.receive_data(self.wire.written)
        self.wire.written = b""
        return [*self.caller.events()]

    def waits(self, seconds: int) -> None:
        self.protocol.registry.now_s += seconds
        self.protocol.check_timeouts()

    def closed_with(self) -> int:
        [event] = self.events()
        assert isinstance(event, CloseConnection)
        return int(event.code)

    def _may_hold(self, size: int) -> bool:
        self.held.append(size)
        return size <= self.most_held

    async def _app(self, *_: Any) -> None:
        await asyncio.Event().wait()


@pytest.fixture
async def connection() -> Connection:
    made = Connection()
    await made.open()
    return made


async def test_nothing_is_read_while_a_message_waits(connection: Connection) -> None:
    connection.sends(BytesMessage(b"x" * 500))
    assert not connection.wire.is_reading()
    assert connection.held[-1] == 500
    assert await connection.protocol.receive() == {"type": "websocket.receive", "bytes": b"x" * 500}
    assert connection.wire.is_reading()
    assert connection.held[-1] == 0


async def test_pings_are_not_read_while_the_caller_reads_no_pongs(connection: Connection) -> None:
    connection.sends(Ping(b"1"))
    assert isinstance(connection.events()[0], Pong)
    connection.protocol.pause_writing()
    assert not connection.wire.is_reading()
    connection.protocol.resume_writing()
    assert connection.wire.is_reading()
    # While a message waits, its end does not make the server read.
    connection.sends(BytesMessage(b"x"))
    connection.protocol.pause_writing()
    connection.protocol.resume_writing()
    assert not connection.wire.is_reading()


async def test_an_incomplete_message_must_keep_the_pace(connection: Connection) -> None:
    connection.sends(Message(b"x" * 16_384, message_finished=False))
    connection.waits(PACE_GRACE_S)
    assert connection.events() == []
    connection.waits(2)
    assert connection.events() == [], "16,384 bytes may take two seconds more"
    connection.waits(1)
    assert connection.closed_with() == TOO_SLOW


async def test_a_silent_connection_without_a_message_is_left_alone(connection: Connection) -> None:
    connection.sends(BytesMessage(b"x"))
    await connection.protocol.receive()
    connection.waits(100)
    assert connection.events() == []


async def test_bytes_beyond_what_may_be_held_close_it(connection: Connection) -> None:
    connection.most_held = 700
    connection.sends(Message(b"x" * 400, message_finished=False))
    assert connection.events() == []
    connection.sends(Message(b"x" * 400, message_finished=False))
    assert connection.held[-2:] == [400, 800]
    assert connection.closed_with() == TRY_LATER
    assert (await connection.protocol.receive())["type"] == "websocket.disconnect"


async def test_a_message_that_is_too_large_closes_it_before_it_is_complete(connection: Connection) -> None:
    connection.sends(Message(b"x" * MAX_BYTES, message_finished=False))
    assert connection.events() == []
    connection.sends(Message(b"x", message_finished=False))
    assert connection.closed_with() == TOO_LARGE
    assert connection.protocol.buffer.length == 0
    # What still comes is read and discarded, so that the caller can read the code.
    assert connection.wire.is_reading()


async def test_a_caller_who_reads_nothing_is_cut_off(connection: Connection) -> None:
    connection.wire.unsent = 70_000
    connection.waits(1)
    connection.waits(UNREAD_S)
    assert not connection.wire.is_aborted
    connection.waits(1)
    assert connection.wire.is_aborted


async def test_a_caller_who_reads_slowly_is_not(connection: Connection) -> None:
    for unsent in range(70_000, 60_000, -1_000):
        connection.wire.unsent = unsent
        connection.waits(UNREAD_S)
    assert not connection.wire.is_aborted


async def test_a_pong_that_may_wait_behind_messages_is_not_missed(connection: Connection) -> None:
    connection.protocol.send_keepalive_ping()
    connection.sends(BytesMessage(b"x"))
    connection.events()
    connection.protocol.keepalive_timeout()
    assert connection.events() == []
    await connection.protocol.receive()
    await asyncio.sleep(0.01)
    connection.protocol.send_keepalive_ping()
    connection.events()
    connection.protocol.keepalive_timeout()
    assert connection.closed_with() == 1011
