"""The problem: an answer that is an error, as `application/problem+json`, built in this one place."""

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
# The kind where the one who refuses names none.
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
# From zero on: Prometheus sees no increase in a count whose first value is one.
for _kind in (*_KINDS.values(), "wrong_keys", "overload", "runner", "database", "uploads", "image", "request"):
    refusals_total.labels(_kind)


class Problem(Exception):
    """An answer that is an error.

    Args:
        status: the HTTP status.
        detail: one sentence that says what to do.
        headers: further headers of the answer.
        field: the field of the request that is wrong, where it is one.
        kind: what refusals are counted by in `classifier_refusals_total`; by default it follows from the status.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        headers: dict[str, str] | None = None,
        field: str | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = HTTPStatus(status)
        self.detail = detail
        self.headers = headers or {}
        self.field = field
        self.kind = kind or ("image" if field == "image" else _KINDS.get(status, "request"))

    def body(self) -> dict[str, str | int]:
        """What is said of it wherever it is told."""
        body: dict[str, str | int] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
        }
        return body if self.field is None else {**body, "field": self.field}

    def response(self, shown_id: str) -> Response:
        """The answer to the request of that id; it is counted as given."""
        refusals_total.labels(self.kind).inc()
        body = {**self.body(), "request_id": shown_id}
        return Response(json.dumps(body), self.status, self.headers, MEDIA_TYPE)


def unavailable(detail: str, retry_after_s: float = RETRY_SOON_S, kind: str | None = None) -> Problem:
    """503: the service can't answer now, and the same request may pass later."""
    return Problem(503, detail, {"Retry-After": str(math.ceil(retry_after_s))}, kind=kind)


def store_away(detail: str) -> Problem:
    """503: keys, limits or the ledger are out of reach, so nothing is admitted and nothing is answered."""
    return unavailable(detail, kind="database")


def bug(error: Exception) -> Problem:
    """500, and one line in the log that says where. The error's own text may hold what must not be logged."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    shown = request_id.current.get()
    logger.error("unexpected %s in %s, line %s, request %s", type(error).__name__, place.name, place.lineno, shown)
    return Problem(500, "The service failed in a way it should not; report the request id to its operator.")


_SAID_BY_LIBRARIES = {
    400: "The request is not one this route understands; /docs shows what it takes.",
    503: "The service is not ready; send the request again shortly.",
    504: "The request took longer than the time limit; send it again, or send a smaller image.",
}
_KEPT_HEADERS = ("Allow", "WWW-Authenticate", "Retry-After")


def translated(status: int, headers: dict[str, str]) -> Problem:
    """The problem that stands for a library's own error answer.

    Args:
        status: its status.
        headers: its headers, by lower-case name.
    """
    kept = {name: headers[name.lower()] for name in _KEPT_HEADERS if name.lower() in headers}
    if status == 503:
        kept.setdefault("Retry-After", str(RETRY_SOON_S))
    if status in _SAID_BY_LIBRARIES:
        detail = _SAID_BY_LIBRARIES[status]
    elif status < 500:
        detail = "The request was refused; /docs shows what this route takes."
    else:
        detail = "The service failed; report the request id to its operator."
    return Problem(status, detail, kept)
