"""Builds every error answer, as `application/problem+json` (RFC 9457)."""

import json
import logging
import math
import traceback
from http import HTTPStatus

from prometheus_client import Counter
from starlette.responses import Response

from web import request_id

logger = logging.getLogger("bentoml.classifier")

MEDIA_TYPE = "application/problem+json"
RETRY_SOON_S = 1

refusals_total = Counter("classifier_refusals", "Answers that were an error, by what kind of error.", ["kind"])
# The kind of an error for which the code names none, by status.
_KINDS = {
    401: "key",
    403: "scope",
    413: "too_large",
    415: "media_type",
    429: "limit",
    500: "bug",
    503: "not_ready",
    504: "time",
}
# The type of a problem for which the status alone says all.
_NO_TYPE = "about:blank"
# Start each counter at zero: Prometheus sees no increase in a counter whose first value is one.
for _kind in (*_KINDS.values(), "wrong_keys", "quota", "overload", "runner", "database", "uploads", "image", "request"):
    refusals_total.labels(_kind)


class Problem(Exception):
    """An answer that is an error.

    Args:
        status: the HTTP status.
        detail: one sentence that says what to do.
        headers: more headers of the answer.
        field: the wrong field of the request, if one is wrong.
        kind: the label in the metric `classifier_refusals_total`; by default it follows from the status.
        type: the type of the problem, if callers should tell it from others of this status.
        title: what all problems of this type have in common, in a few words.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        headers: dict[str, str] | None = None,
        field: str | None = None,
        kind: str | None = None,
        type: str = _NO_TYPE,
        title: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = HTTPStatus(status)
        self.detail = detail
        self.headers = headers or {}
        self.field = field
        self.type = type
        self.title = title or self.status.phrase
        self.kind = kind or ("image" if field == "image" else _KINDS.get(status, "request"))

    def body(self) -> dict[str, str | int]:
        """Return the fields of the problem, without the request id.

        `retry_after` repeats the header, in seconds: some clients show their user only the body of an error.
        """
        body: dict[str, str | int] = {
            "type": self.type,
            "title": self.title,
            "status": self.status.value,
            "detail": self.detail,
        }
        retry_after = self.headers.get("Retry-After", "")
        if retry_after.isdecimal():
            body["retry_after"] = int(retry_after)
        if self.field is not None:
            body["field"] = self.field
        return body

    def response(self, request_id: str, with_error_text: bool = False) -> Response:
        """Return the answer to the request with this id, and count it in the metric.

        Args:
            request_id: the id of the request.
            with_error_text: whether the detail is also in the field `error`.
        """
        refusals_total.labels(self.kind).inc()
        body = {**self.body(), "request_id": request_id}
        if with_error_text:
            body["error"] = self.detail
        return Response(json.dumps(body), self.status, self.headers, MEDIA_TYPE)


def unavailable(detail: str, retry_after_s: float = RETRY_SOON_S, kind: str | None = None) -> Problem:
    """Return a 503: the service can't answer now, but may answer the same request later."""
    return Problem(503, detail, {"Retry-After": str(math.ceil(retry_after_s))}, kind=kind)


def storage_unavailable(detail: str) -> Problem:
    """Return a 503: keys, limits or the usage log can't be reached, so no request is admitted or answered."""
    return unavailable(detail, kind="database")


def internal_error(error: Exception) -> Problem:
    """Return a 500, and log where the error was raised. The error's text is not logged: it may hold a secret."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    current_id = request_id.current.get()
    logger.error("unexpected %s in %s, line %s, request %s", type(error).__name__, place.name, place.lineno, current_id)
    return Problem(500, "The service failed in a way it should not; report the request id to its operator.")


_DETAILS_FOR_LIBRARY_ERRORS = {
    400: "The request is not one this route understands; /docs shows what it takes.",
    503: "The service is not ready; send the request again shortly.",
    504: "The request took longer than the time limit; send it again, or send a smaller image.",
}
_KEPT_HEADERS = ("Allow", "WWW-Authenticate", "Retry-After")


def from_library_error(status: int, headers: dict[str, str]) -> Problem:
    """Return the problem that replaces an error answer of a library.

    Args:
        status: the status of that answer.
        headers: the headers of that answer, by lower-case name.
    """
    kept = {name: headers[name.lower()] for name in _KEPT_HEADERS if name.lower() in headers}
    if status == 503:
        kept.setdefault("Retry-After", str(RETRY_SOON_S))
    if status in _DETAILS_FOR_LIBRARY_ERRORS:
        detail = _DETAILS_FOR_LIBRARY_ERRORS[status]
    elif status < 500:
        detail = "The request was refused; /docs shows what this route takes."
    else:
        detail = "The service failed; report the request id to its operator."
    return Problem(status, detail, kept)
