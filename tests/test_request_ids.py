"""The id of a request: the caller's own where it is valid, and never one that would carry a key into the log."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from auth.api_key import ApiKey
from testing.callers import BODY
from testing.photographs import COFFEE
from testing.servers import Server, running
from testing.waiting import PATIENCE_S, wait_until
from tests.wire import read_answers
from web import request_id

# The server closes the connection behind its answer.
LAST = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def taken(own: str) -> str | None:
    scope = {"headers": [(b"x-request-id", own.encode("latin-1"))]}
    return request_id.chosen_by_caller(scope)


@pytest.mark.parametrize(
    "own",
    ["mine-1", "a" * 128, "6f1c2b9e-3d52-4f0e-9a53-0d6f6b0a4c11", "1-67891233-abcdef012345678912345678", "imc", "imc_"],
)
def test_a_callers_own_id_is_kept(own: str) -> None:
    assert taken(own) == own


@pytest.mark.parametrize(
    "written",
    [
        "{key}",
        "{upper}",
        "Imc_{rest}",
        "trace-{key}",
        "{key}.1",
        "a:{key}~b",
        "{half}",
        "imc_a",
        "xIMC_9",
        "{rest}",
        "id-{rest}",
    ],
)
def test_an_id_that_holds_a_key_is_not_taken(written: str) -> None:
    for _ in range(20):
        key = ApiKey.generate().reveal()
        own = written.format(key=key, upper=key.replace("imc_", "IMC_"), rest=key[4:], half=key[:20])
        assert len(own) <= 128
        assert taken(own) is None


@pytest.mark.parametrize("behind", [b" ", b"\t", b"  \t "])
def test_white_space_behind_an_id_is_no_part_of_it(server: Server, behind: bytes) -> None:
    """A parser leaves it to the server (RFC 9110, 5.5). So it is with every header."""
    asked = LAST.encode().replace(b"\r\n\r\n", b"\r\nX-Request-ID: \tmine-1" + behind + b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        connection.sendall(asked)
        [answer] = read_answers(connection)
    assert answer.headers["x-request-id"] == "mine-1"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /livez HTTP/1.1\r\nX-Request-ID: mine-1\r\nX: " + b"a" * 40_000, 431),
        (b"GET /livez HTTP/1.1\r\nX-Request-ID: mine-1\r\n" + b"X: a\r\n" * 120 + b"\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n" + b"X: a\r\n" * 99 + b"X-Request-ID: mine-1\r\nX: a\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\nX-Request-ID: mine-1\r\nX: a\r\nX : a\r\n\r\n", 400),
        (b"CONNECT it:1 HTTP/1.1\r\nHost: it\r\nX-Request-ID: mine-1\r\n\r\n", 400),
        (b"POST /v2/classify HTTP/1.1\r\n%b\r\nX-Request-ID: mine-1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        (
            LAST.encode().replace(b"Connection: close", b"X-Request-ID: other")
            + b"CONNECT it:1 HTTP/1.1\r\nX-Request-ID: mine-1\r\n\r\n",
            400,
        ),
    ],
    ids=["a large header", "many headers behind it", "many before it", "a header", "a method", "a chunk", "the second"],
)
def test_what_is_refused_before_any_route_keeps_it_too(
    server: Server, new_user: Callable[..., dict[str, Any]], sent: bytes, status: int
) -> None:
    key = new_user()["key"].encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        connection.sendall(sent.replace(b"%b", b"Content-Type: image/jpeg\r\nAuthorization: Bearer " + key))
        answer = read_answers(connection)[-1]
    assert answer.status_code == status
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine-1"


@pytest.fixture(params=["text", "json"])
def logging_server(request: pytest.FixtureRequest, tmp_path: Path, model_store: Path) -> Iterator[Server]:
    """A server that writes its log in that format."""
    if request.param == "text":
        yield request.getfixturevalue("server")
        return
    with running(tmp_path / "it", model_store, CLASSIFIER_LOG_FORMAT="json") as started:
        yield started


def test_what_a_caller_says_in_passing_reaches_no_log_no_metric_and_no_usage_log(logging_server: Server) -> None:
    """A key where it does not belong: in ids, other headers, methods, paths, file names and upgrades."""
    key = logging_server.create_key("ids@example.org", "--limit", "1000/minute")["key"]
    metrics = logging_server.create_key("metrics@example.org", "--scope", "metrics")["key"]
    said = []
    with logging_server.client(key) as client:
        for own in (key, f"trace-{key}", key.replace("imc_", "IMC_"), key[4:]):
            answer = client.post("/v1/classify", json=BODY, headers={"X-Request-ID": own})
            assert answer.status_code == 200
            assert answer.headers["x-request-id"].startswith("req_")
            said.append(answer)
        for name in ("User-Agent", "Referer", "Cookie", "Traceparent", "X-Forwarded-For", "Accept", "Origin"):
            said.append(client.post("/v1/classify", json=BODY, headers={name: key}))
        files = {"image": (key, COFFEE.read_bytes(), "image/png")}
        said.append(client.post("/v2/classify", files=files))
        said.append(client.post("/v2/classify", files={key: files["image"]}, data={key: key}))
        said.append(client.get(f"/v2/models/{key}"))
        said.append(client.request("PROPFIND", f"/{key}"))
    for words in (
        f"{key} / HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /{key} HTTP/{key}\r\n\r\n",
        f"GET /{key}?key={key} HTTP/1.1\r\nHost: {key}\r\nX-Request-ID: {key}\r\nConnection: close\r\n\r\n",
        f"GET /{key}?key={key} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {key}\r\n\r\n{LAST}",
        f"GET /{key}?key={key} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Sec-WebSocket-Protocol: bearer.{key}\r\nX-Request-ID: {key}\r\n\r\n{LAST}",
    ):
        _speak(logging_server.port, words)
    with logging_server.client(metrics) as client:
        said.append(client.get("/metrics"))
        client.get("/v1/usage", headers={"X-Request-ID": "the-last"})
    # A line is written behind its answer.
    wait_until(lambda: "the-last" in logging_server.log.read_text(), "the line of the last request")
    assert all(isinstance(answer, httpx.Response) for answer in said)
    written = [path for path in logging_server.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    kept = {path.name: path.read_bytes() for path in written}
    kept |= {f"answer {number}": answer.text.encode() for number, answer in enumerate(said)}
    assert "server.log" in kept
    assert b"/v1/classify" in kept["server.log"]
    assert [name for name, content in kept.items() if key[4:].lower().encode() in content.lower()] == []


def _speak(port: int, words: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(words.encode())
        while connection.recv(65536):
            pass
