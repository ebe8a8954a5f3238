"""Makes HTTP requests of what comes over a WebSocket: the handshake, and each message."""

from typing import Any

from starlette.types import Scope

from web.matching import GIVEN_MATCH, IS_HANDSHAKE
from web.routes import Match

# A key in the state of a handshake's request: the `Stream` that it opens.
STREAM = "stream"
# Browsers can't send `Authorization` with a handshake. A page offers its key as a subprotocol instead.
KEY_PROTOCOL = "bearer."
_KEPT_FOR_HANDSHAKE = (b"host", b"origin", b"x-request-id")
# Where messages go: their answers are those of this route.
_CLASSIFY = "/v2/classify"

Headers = list[tuple[bytes, bytes]]


def handshake_scope(scope: Scope, stream: object) -> Scope:
    """Return the scope of the request that a handshake is: a GET that only the route of a WebSocket takes."""
    kept = [(name, value) for name, value in scope["headers"] if name in _KEPT_FOR_HANDSHAKE]
    state = {IS_HANDSHAKE: True, STREAM: stream}
    return _request(scope, "GET", scope["path"], scope.get("raw_path"), [*_authorization(scope), *kept], state)


def message_scope(scope: Scope, match: Match, content_type: str, size: int) -> Scope:
    """Return the scope of the request that a message is: a POST, answered as by `/v2/classify`.

    Args:
        scope: the scope of the WebSocket.
        match: what the request counts as.
        content_type: the type of the body.
        size: the length of the body, bytes.
    """
    headers = [
        *_authorization(scope),
        (b"content-type", content_type.encode()),
        (b"content-length", str(size).encode()),
    ]
    return _request(scope, "POST", _CLASSIFY, _CLASSIFY.encode(), headers, {GIVEN_MATCH: match})


def subprotocol(scope: Scope) -> str | None:
    """Return the subprotocol that holds the key; None if there is none."""
    return next(iter(_key_protocols(scope)), None)


def _key_protocols(scope: Scope) -> list[str]:
    return [one for one in scope.get("subprotocols", []) if one.startswith(KEY_PROTOCOL)]


def _authorization(scope: Scope) -> Headers:
    """Return all keys that were sent, in whichever way: authentication refuses several that differ."""
    sent = [(name, value) for name, value in scope["headers"] if name == b"authorization"]
    offered = [one.removeprefix(KEY_PROTOCOL).encode() for one in _key_protocols(scope)]
    return [*sent, *((b"authorization", b"Bearer " + key) for key in offered)]


def _request(
    scope: Scope, method: str, path: str, raw_path: bytes | None, headers: Headers, state: dict[str, Any]
) -> Scope:
    return {
        "type": "http",
        "asgi": scope.get("asgi", {"version": "3.0"}),
        "http_version": "1.1",
        "method": method,
        "scheme": "https" if scope.get("scheme") == "wss" else "http",
        "path": path,
        "raw_path": raw_path,
        "query_string": scope.get("query_string", b""),
        "root_path": scope.get("root_path", ""),
        "headers": headers,
        "client": scope.get("client"),
        "server": scope.get("server"),
        "state": {**scope.get("state", {}), **state},
    }
