"""The history checker: compares what concurrent callers sent and received with what the service promises.

It does not depend on how the service works. Each event has the monotonic times between which the service must have
acted on it. So a mistake that it reports is one for every possible order of the events, never a guess.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

REVOCATION_GRACE_S = 1.0


@dataclass(frozen=True)
class Event:
    """One request.

    Attributes:
        user: the user's id.
        key_id: the public id of the key.
        sent: when it was sent, monotonic seconds.
        received: when the answer was complete, or the caller gave up, monotonic seconds.
        status: the status of the answer; None without an answer.
        request_id: the id in the answer; None without an answer.
    """

    user: str
    key_id: str
    sent: float
    received: float
    status: int | None
    request_id: str | None


@dataclass(frozen=True)
class LoggedRow:
    """One row of the usage log, as far as the checker needs it."""

    request_id: str
    user: str
    status: int
    images: int
    billable: int = 0
    key_id: str = ""


def check(
    events: Iterable[Event],
    limits: Iterable[tuple[int, float]],
    usage_log: Iterable[LoggedRow],
    hits: dict[str, int],
    revoked: dict[str, float] | None = None,
) -> list[str]:
    """Find every broken promise.

    Args:
        events: what callers sent and received.
        limits: quota and window (seconds) of every limit; each user has all of them.
        usage_log: the rows of the usage log.
        hits: for each user, the number of hits.
        revoked: for each revoked key, the monotonic time at which the revocation was reported done.

    Returns:
        One sentence for each broken promise; empty if there is none.
    """
    events, usage_log = list(events), list(usage_log)
    broken = []
    for quota, window_s in limits:
        broken += _exceeded_limits(events, quota, window_s)
    broken += _usage_log_mistakes(events, usage_log)
    broken += _hit_mistakes(events, usage_log, hits)
    broken += _uses_after_revocation(events, revoked or {})
    return broken


def _admitted(events: list[Event]) -> list[Event]:
    return [event for event in events if event.status == 200]


def _exceeded_limits(events: list[Event], quota: int, window_s: float) -> list[str]:
    broken = []
    for user in {event.user for event in events}:
        mine = sorted((event for event in _admitted(events) if event.user == user), key=lambda event: event.received)
        for number in range(quota, len(mine)):
            # All of these were admitted between the first time of sending and the last time of receipt.
            some = mine[number - quota : number + 1]
            took_s = some[-1].received - min(event.sent for event in some)
            if took_s < window_s:
                broken.append(
                    f"{user}: {quota + 1} admitted within {took_s:.3f} s; the limit is {quota} in {window_s} s"
                )
                break
    return broken


def _usage_log_mistakes(events: list[Event], usage_log: list[LoggedRow]) -> list[str]:
    rows = Counter(row.request_id for row in usage_log)
    by_id = {row.request_id: row for row in usage_log}
    broken = [f"{times} rows have the request id {request_id}" for request_id, times in rows.items() if times > 1]
    for event in _admitted(events):
        row = by_id.get(event.request_id or "")
        if row is None:
            broken.append(f"{event.user}: a 200 has no row ({event.request_id})")
        elif (row.user, row.status, row.images) != (event.user, 200, 1):
            broken.append(f"{event.user}: the row of a 200 says {row}")
    return broken


def _hit_mistakes(events: list[Event], usage_log: list[LoggedRow], hits: dict[str, int]) -> list[str]:
    broken = []
    all_were_answered = all(event.status in (200, 429) for event in events)
    for user in {event.user for event in events}:
        received = sum(event.user == user for event in _admitted(events))
        counted, charged = hits.get(user, 0), sum(row.images for row in usage_log if row.user == user)
        if counted < received:
            broken.append(f"{user}: {received} answers of 200 and {counted} hits")
        if all_were_answered and not counted == charged == received:
            broken.append(f"{user}: {received} answers of 200, {counted} hits, {charged} images in the usage log")
    return broken


def _uses_after_revocation(events: list[Event], revoked: dict[str, float]) -> list[str]:
    broken = []
    for event in _admitted(events):
        late_s = event.sent - revoked.get(event.key_id, float("inf"))
        if late_s > REVOCATION_GRACE_S:
            broken.append(f"{event.user}: the key {event.key_id} was accepted {late_s:.3f} s after its revocation")
    return broken
