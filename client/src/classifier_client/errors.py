"""What the client raises. Every error of the server is one of these classes, with the server's own sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class ClassifierError(Exception):
    """The base of all errors of this package. `str(error)` is one sentence that says what to do.

    Args:
        detail: that sentence.
        status: the HTTP status; None if no answer arrived.
        type: the URI of the kind of problem (RFC 9457).
        request_id: the id of the request, for the operator of the server.
        retry_after: seconds after which a new try makes sense.
        field: the name of the wrong field of the request.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        type: str = "about:blank",
        request_id: str | None = None,
        retry_after: float | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.type = type
        self.request_id = request_id
        self.retry_after = retry_after
        self.field = field


class AuthenticationError(ClassifierError):
    """There is no key, or it is malformed, unknown, revoked or expired (401)."""


class PermissionDenied(ClassifierError):
    """The key lacks a scope (403)."""


class NotFound(ClassifierError):
    """The server has no such thing (404)."""


class Conflict(ClassifierError):
    """The request contradicts another one (409)."""


class InvalidRequest(ClassifierError):
    """The server does not take the request as it is (other 4xx)."""


class InvalidImage(InvalidRequest):
    """The image can't be read, or has too many pixels (400 or 422)."""


class TooLarge(InvalidRequest):
    """The body is larger than the server takes (413)."""


class LimitReached(ClassifierError):
    """The limit of the user is reached (429); `retry_after` says for how many seconds."""


class QuotaExceeded(LimitReached):
    """The quota of the month or day is used up (429)."""


class ServerError(ClassifierError):
    """The server failed (other 5xx)."""


class Overloaded(ServerError):
    """The server can't answer now, but may answer the same request later (503)."""


class TimedOut(ClassifierError):
    """The answer took too long: for the server (504) or for this client."""


class ConnectionFailed(ClassifierError):
    """The server can't be reached, or the connection ended before the answer."""


class UnexpectedAnswer(ClassifierError):
    """The answer is not what this version of the client understands."""


class MissingPackage(ClassifierError):
    """A package that this feature needs is not installed."""


_BY_STATUS: dict[int, type[ClassifierError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    429: LimitReached,
    503: Overloaded,
    504: TimedOut,
}
_FIELDS_OF_IMAGES = frozenset({"image", "images"})
_QUOTA = "quota-exceeded"


def from_answer(status: int, headers: Mapping[str, str], body: bytes) -> ClassifierError:
    """Return the error that an answer stands for.

    Args:
        status: 300 or more.
        headers: by lower-case name.
        body: a problem (RFC 9457), or what a proxy in between wrote.
    """
    if status < 400:
        # If the redirect were followed, the key would go to any address that the answer names.
        place = headers.get("location", "another address")
        return ConnectionFailed(f"The server redirects to {place}; correct its address.", status=status)
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    known = {
        "detail": f"The server answered with status {status}; ask its operator why.",
        "retry_after": headers.get("retry-after"),
        "request_id": headers.get("x-request-id"),
    }
    return from_problem({**known, **problem, "status": status})


def from_problem(problem: Mapping[str, Any]) -> ClassifierError:
    """Return the error that a problem (RFC 9457) stands for, such as that of one image of a batch."""
    status, type_, field = problem.get("status"), str(problem.get("type", "about:blank")), problem.get("field")
    return _class_of(status, type_, field)(
        str(problem.get("detail") or problem.get("title") or "The server gave no reason; ask its operator."),
        status=status if isinstance(status, int) else None,
        type=type_,
        request_id=_text(problem.get("request_id")),
        retry_after=_seconds(problem.get("retry_after")),
        field=_text(field),
    )


def _class_of(status: object, type_: str, field: object) -> type[ClassifierError]:
    if not isinstance(status, int):
        return UnexpectedAnswer
    if status == 429 and type_.endswith(_QUOTA):
        return QuotaExceeded
    if status in {400, 422} and field in _FIELDS_OF_IMAGES:
        return InvalidImage
    return _BY_STATUS.get(status, ServerError if status >= 500 else InvalidRequest)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _seconds(value: object) -> float | None:
    """Return the seconds. A date in `Retry-After` counts as none: the clocks may differ, and this server sends none."""
    if isinstance(value, str) and value.strip().isdecimal():
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    return None
