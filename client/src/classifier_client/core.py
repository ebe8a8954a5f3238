"""Decides what to send and when to send it again, without doing any input or output itself.

`perform` is a generator. It yields what is to be done next, and is sent the result; `Client` and `AsyncClient`
only do what it says.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from classifier_client import errors, parsing
from classifier_client.calls import Call, Repeat
from classifier_client.errors import ClassifierError, ConnectionFailed, LimitReached, QuotaExceeded, TimedOut

T = TypeVar("T")

# The statuses after which a call is sent again. After a 502 or 504, the server may have done what was asked.
_RETRIED_STATUSES = {
    Repeat.ALWAYS: frozenset({502, 503, 504}),
    Repeat.IF_REFUSED: frozenset({503}),
    Repeat.IF_UNSENT: frozenset[int](),
}


@dataclass(frozen=True)
class TimeLimits:
    """How long to wait, in seconds.

    Attributes:
        connect: for a connection.
        read: for the next bytes of an answer.
        total: for a call with all its tries and the waits between them.
    """

    connect: float = 5.0
    read: float = 65.0
    total: float = 180.0


@dataclass(frozen=True)
class Retries:
    """How often to try again, and after how many seconds.

    The wait before try n is a random part of `first * 2 ** n`, at most `longest` ("full jitter"), so that callers who
    failed together do not return together. It is added to the server's `Retry-After`. When a limit was reached, it is
    always a random part of `first`.

    Attributes:
        most: how many times a call is sent again.
        first: the longest wait before the first new try.
        longest: the longest wait before any new try.
    """

    most: int = 5
    first: float = 0.5
    longest: float = 20.0

    def wait_s(self, tries: int, retry_after: float | None, part: float) -> float:
        """Return the seconds to wait after that many tries; `part` is a random number from 0 to 1."""
        return (retry_after or 0.0) + part * min(self.longest, self.first * 2.0 ** (tries - 1))


@dataclass(frozen=True)
class Pace:
    """The time and the random numbers, which tests replace."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    sleep_async: Callable[[float], Awaitable[None]] = asyncio.sleep
    part: Callable[[], float] = random.random


@dataclass(frozen=True)
class Send:
    """To do next: send the request, and give up at that time of the clock (`Pace.now`)."""

    request: httpx.Request
    ends_at: float
    is_streamed: bool


@dataclass(frozen=True)
class Sleep:
    """To do next: wait."""

    seconds: float


@dataclass(frozen=True)
class Answer:
    """What came of a request: the answer of the server."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> ClassifierError | None:
        """The error that the answer stands for."""
        if self.status < 300:
            return None
        return errors.from_answer(self.status, self.headers, self.body)


@dataclass(frozen=True)
class Failure:
    """What came of a request: no answer. `is_unsent` tells that the server can't have got it."""

    error: ClassifierError
    is_unsent: bool


Reply = Answer | Failure
Steps = Generator[Send | Sleep, "Reply | None", T]


@dataclass(frozen=True)
class Core:
    """Performs calls of one server.

    Attributes:
        url: the address of the server.
        headers: what every request has.
        time_limits: how long to wait.
        retries: how often to try again.
        pace: the time.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    time_limits: TimeLimits
    retries: Retries
    pace: Pace

    def perform(self, call: Call[T]) -> Steps[T]:
        """Return the steps of a call; they end with its result, or raise its error.

        Raises:
            ClassifierError: the last try failed, or the next one would come after the total time.
        """
        ends_at = self.pace.now() + self.time_limits.total
        tries = 0
        while True:
            reply = yield Send(self._request(call, ends_at - self.pace.now()), ends_at, call.is_streamed)
            assert reply is not None
            tries += 1
            if reply.error is None:
                assert isinstance(reply, Answer)
                return call.result(reply.body)
            # The server says when the limit admits the call, so the wait need not grow, however often it is tried.
            is_limited = isinstance(reply.error, LimitReached)
            wait_s = self.retries.wait_s(1 if is_limited else tries, reply.error.retry_after, self.pace.part())
            is_late = self.pace.now() + wait_s >= ends_at
            is_often = tries > self.retries.most and not is_limited
            if is_late or is_often or not _may_repeat(call, reply, tries):
                raise reply.error
            yield Sleep(wait_s)

    def _request(self, call: Call[Any], within: float) -> httpx.Request:
        read, connect = min(self.time_limits.read, within), min(self.time_limits.connect, within)
        return httpx.Request(
            call.method,
            self.url + call.path,
            params=call.params,
            content=call.content,
            headers={**self.headers, **call.headers},
            extensions={"timeout": httpx.Timeout(max(0.001, read), connect=max(0.001, connect)).as_dict()},
        )


def _may_repeat(call: Call[Any], reply: Reply, tries: int) -> bool:
    if isinstance(reply, Failure):
        return reply.is_unsent or call.repeat is Repeat.ALWAYS
    if reply.status == 429:
        # A limit soon admits requests again; a quota only when the day or the month ends.
        return not isinstance(reply.error, QuotaExceeded)
    if reply.status == 409 and "Idempotency-Key" in call.headers:
        # An earlier try of this call is still under way; its answer can be had soon.
        return tries > 1 and reply.error is not None and reply.error.retry_after is not None
    return reply.status in _RETRIED_STATUSES[call.repeat]


def failure(error: httpx.TransportError | httpx.DecodingError, url: str) -> Failure:
    """Return the failure of a request that an error of httpx ended."""
    is_unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    if is_unsent:
        return Failure(unreachable(error, url), True)
    if isinstance(error, httpx.TimeoutException):
        return Failure(late(), False)
    if isinstance(error, httpx.DecodingError):
        return Failure(parsing.not_understood(), False)
    return Failure(ConnectionFailed("The connection ended before the answer arrived; try again."), False)


def unreachable(error: Exception, url: str) -> ConnectionFailed:
    """Return the error for a server that could not be connected to."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        what = "set SSL_CERT_FILE to a file with the certificate of its authority, or check the address"
        return ConnectionFailed(f"The certificate of the server at {url} can't be verified; {what}.")
    return ConnectionFailed(f"The server at {url} can't be reached; check the address, or start it.")


def late() -> TimedOut:
    """Return the error for an answer that did not arrive in time."""
    return TimedOut("The server did not answer in time; try again, or allow more time.")
