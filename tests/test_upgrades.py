"""Requests that offer another protocol, or are written in a rare form: each is one request, and none is two."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from testing.callers import BODY as SMALL
from testing.servers import Server
from testing.waiting import PATIENCE_S
from tests.answers import assert_problem
from tests.wire import read_answers

HANDSHAKE = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
OFFERS = {
    "h2c": "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAA\r\nUpgrade: h2c\r\n",
    "websocket": f"Connection: Upgrade\r\nUpgrade: websocket\r\n{HANDSHAKE}",
    "websocket, without the rest of a handshake": "Connection: Upgrade\r\nUpgrade: WebSocket\r\n",
    "a list": f"Connection: keep-alive, upgrade\r\nUpgrade: websocket, h2c\r\n{HANDSHAKE}",
    "two headers": f"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n{HANDSHAKE}",
    "two headers, the other way about": f"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n{HANDSHAKE}",
    "TLS": "Connection: Upgrade\r\nUpgrade: TLS/1.0, HTTP/2.0\r\n",
    "none, though it is said": "Connection: Upgrade\r\n",
    "one, though it is not said": "Upgrade: h2c\r\n",
    "an empty one": "Connection: Upgrade\r\nUpgrade:\r\n",
}
BODY = json.dumps(SMALL).encode()
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: it\r\n\r\n"
# The server closes the connection behind its answer.
LAST = b"GET /readyz HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n"
SPLITS = {"at once": 1 << 20, "in small pieces": 300, "byte by byte": 1}


@pytest.fixture
def key(new_user: Callable[..., dict[str, Any]]) -> str:
    return str(new_user("--limit", "100000/minute")["key"])


def exchange(server: Server, sent: bytes, piece: int = 1 << 20) -> list[httpx.Response]:
    """Send it in pieces of so many bytes; the answers until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), piece):
            caller.sendall(sent[start : start + piece])
            if piece < len(sent):
                time.sleep(0.0005)
        return read_answers(caller)


def head(line: str, key: str | None, *headers: str) -> bytes:
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    return (f"{line}\r\nHost: it\r\n{authorization}{''.join(headers)}\r\n").encode()


def with_length(body: bytes) -> tuple[str, bytes]:
    return f"Content-Length: {len(body)}\r\n", body


def in_chunks(body: bytes) -> tuple[str, bytes]:
    chunks = [body[start : start + 700] for start in range(0, len(body), 700)]
    written = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return "Transfer-Encoding: chunked\r\n", written + b"0\r\n\r\n"


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("framed", [with_length, in_chunks])
@pytest.mark.parametrize("offer", OFFERS)
def test_a_post_keeps_its_body_and_what_follows_is_the_next(
    server: Server, key: str, offer: str, framed: Callable[[bytes], tuple[str, bytes]], split: str
) -> None:
    framing, body = framed(BODY if split != "byte by byte" else b"{}")
    post = head("POST /v1/classify HTTP/1.1", key, OFFERS[offer], "Content-Type: application/json\r\n", framing)
    answers = exchange(server, post + body + LIVEZ + post + body + LAST, SPLITS[split])
    classified = 200 if split != "byte by byte" else 422
    assert [answer.status_code for answer in answers] == [classified, 200, classified, 200]


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE", "OPTIONS"])
def test_a_body_is_never_run_as_a_request(server: Server, key: str, method: str, offer: str) -> None:
    for framing, body in (with_length(LIVEZ), in_chunks(LIVEZ)):
        asked = head(f"{method} /v1/classify HTTP/1.1", key, OFFERS[offer], framing)
        answers = exchange(server, asked + body + LAST)
        assert [answer.status_code for answer in answers] == [400 if method == "POST" else 405, 200]


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("connection", ["", "Connection: keep-alive\r\n"])
def test_http_1_0_is_served_and_its_connection_closed(server: Server, key: str, offer: str, connection: str) -> None:
    framing, body = with_length(BODY)
    kind = "Content-Type: application/json\r\n"
    post = head("POST /v1/classify HTTP/1.0", key, connection, OFFERS[offer], kind, framing)
    [answer] = exchange(server, post + body + LIVEZ)
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("offer", [name for name in OFFERS if "websocket" in OFFERS[name].lower()])
def test_a_web_socket_is_refused_by_the_gate(server: Server, key: str, offer: str) -> None:
    asked = {
        ("/v1/usage", None): 401,
        ("/v1/usage", "imc_wrong"): 401,
        ("/nothing", None): 401,
        ("/nothing", key): 404,
        ("/v1/usage", key): 405,
        ("/v1/classify", key): 405,
        ("/livez", None): 405,
    }
    for (path, sent_key), status in asked.items():
        for framing, body in (("", b""), with_length(LIVEZ), in_chunks(LIVEZ)):
            refused, next_one = exchange(
                server, head(f"GET {path} HTTP/1.1", sent_key, OFFERS[offer], framing) + body + LAST
            )
            problem = assert_problem(refused, status)
            assert ("WebSocket" in problem["detail"]) == (status == 405)
            assert next_one.status_code == 200


def test_another_offer_leaves_a_read_as_it_is(server: Server, key: str) -> None:
    for offer in ("h2c", "TLS", "none, though it is said", "one, though it is not said", "an empty one"):
        read = head("GET /v1/usage HTTP/1.1", key, OFFERS[offer])
        assert [answer.status_code for answer in exchange(server, LIVEZ + read + LAST)] == [200] * 3


def test_leave_to_send_and_trailers_go_with_an_offer(server: Server, key: str) -> None:
    kind = "Content-Type: application/json\r\n"
    framing, body = with_length(BODY)
    post = head("POST /v1/classify HTTP/1.1", key, OFFERS["h2c"], kind, "Expect: 100-continue\r\n", framing)
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as caller:
        caller.sendall(post)
        assert caller.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.sendall(body + LAST)
        assert [answer.status_code for answer in read_answers(caller)] == [200, 200]
    framing, body = in_chunks(BODY)
    trailing = "TE: trailers, deflate\r\nTrailer: X-Sum\r\n"
    for offer in ("", OFFERS["h2c"]):
        post = head("POST /v1/classify HTTP/1.1", key, offer, kind, trailing, framing)
        answers = exchange(server, post + body[:-2] + b"X-Sum: 1\r\n\r\n" + LAST)
        assert [answer.status_code for answer in answers] == [200, 200]


@pytest.mark.parametrize(
    ("target", "status"),
    {
        "http://it/v1/usage": 200,
        "http://elsewhere:8080/v1/usage": 200,
        "https://it/v1/usage": 200,
        "http://it": 200,
        "http://it?top_k=1": 200,
        "http://it/v1/usage/": 404,
        "http://it//v1/usage": 404,
        "*": 404,
    }.items(),
)
def test_a_target_may_name_the_host(server: Server, key: str, target: str, status: int) -> None:
    asked = head(f"GET {target} HTTP/1.1", key)
    assert [answer.status_code for answer in exchange(server, asked + LAST)] == [status, 200]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04" + bytes(23), id="HTTP/2, unasked"),
        pytest.param(b"CONNECT it:80 HTTP/1.1\r\nHost: it\r\n\r\n", id="CONNECT"),
        pytest.param(b"CONNECT it:80 HTTP/1.1\r\nHost: it\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", id="both"),
        pytest.param(b"GET it:80 HTTP/1.1\r\nHost: it\r\n\r\n", id="an authority"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
    ],
)
@pytest.mark.parametrize("piece", [1 << 20, 1])
def test_what_is_not_spoken_here_gets_a_problem_and_nothing_more(server: Server, sent: bytes, piece: int) -> None:
    [answer] = exchange(server, sent + LIVEZ, piece)
    assert_problem(answer, 400)
    assert answer.headers["connection"] == "close"


def test_http_2_is_told_to_speak_http_1(server: Server) -> None:
    [answer] = exchange(server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    assert "HTTP/1.1" in assert_problem(answer, 400)["detail"]
