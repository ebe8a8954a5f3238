"""Sends a request over HTTP, on connections that all callers share."""

import itertools
import json
from dataclasses import dataclass
from functools import cache

from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPParseError

from loadtests.kinds import Kind

# More than the requests under way at any time: no request waits for a free connection.
CONNECTIONS = 5000
TIMEOUT_S = 30.0
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. Without one, `status` is None and `body` has the reason."""

    status: int | None
    retry_after: str | None
    body: bytes


@cache
def connections(host: str) -> HTTPClient:
    """Return the connections to a server, such as `http://127.0.0.1:3000`."""
    return HTTPClient.from_url(host, concurrency=CONNECTIONS, network_timeout=TIMEOUT_S, connection_timeout=TIMEOUT_S)


def send(host: str, key: str, kind: Kind) -> Answer:
    """Send the next request of a kind, and read the answer."""
    body = kind.bodies[next(_numbers) % len(kind.bodies)]
    return ask(host, key, kind.method, kind.path, body, kind.content_type)


def ask(host: str, key: str, method: str, path: str, body: bytes = b"", content_type: str = "") -> Answer:
    """Send a request, and read the answer."""
    headers = {"Authorization": f"Bearer {key}"} | ({"Content-Type": content_type} if content_type else {})
    try:
        response = connections(host).request(method, path, body, headers)
        answered = bytes(response.read())
    except (OSError, HTTPParseError) as error:
        return Answer(None, None, f"{type(error).__name__}: {error}".encode())
    retry_after = response.get("retry-after")
    return Answer(response.status_code, str(retry_after) if retry_after else None, answered)


def describe(answer: Answer) -> str:
    """Return one line about an answer: its status, and a problem's detail, or else the beginning of the body."""
    try:
        detail = str(json.loads(answer.body)["detail"])
    except (ValueError, KeyError, TypeError):
        detail = answer.body[:200].decode(errors="replace")
    return f"{answer.status}: {detail}"
