"""The history checker of bills: compares what callers asked and received with what the database bills them.

Like `history.py`, it does not depend on how the service works. What a caller can't know, it leaves open: a request that
got no answer may be billed or not, but once at most. So a mistake that it reports is one for every possible truth.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from testing.history import Event, LoggedRow


@dataclass(frozen=True)
class Attempt(Event):
    """One sending of a classification. `request_id` is that of its row in the usage log.

    Attributes:
        images: the number of images that it asked for.
        answered: the number of images that the answer has predictions for.
        endpoint: the path of the route.
        idempotency_key: as it was sent; None without one.
        is_replayed: whether the answer says that it is one that was given before.
        answer_id: the id of the request that computed the answer; None if it has no predictions.
        is_whole: whether the answer arrived to its end; if not, more images than `answered` may have been answered.
        is_beyond_quota: whether it was refused since the quota is used up.
        is_beside_outage: whether the database was away for a part of it. What it did not answer may have no row then,
            and may stay reserved.
    """

    images: int = 1
    answered: int = 0
    endpoint: str = "/v2/classify"
    idempotency_key: str | None = None
    is_replayed: bool = False
    answer_id: str | None = None
    is_whole: bool = True
    is_beyond_quota: bool = False
    is_beside_outage: bool = False

    @property
    def may_be_reserved(self) -> int:
        """The number of images that may stay reserved after it, until its reservation is given back."""
        if self.status is None or not self.is_whole:
            return self.images
        return self.images - self.answered if self.is_beside_outage else 0


class Left(NamedTuple):
    """What was left of a user's quota at the end, while no request was under way.

    Attributes:
        images: what the service said.
        is_settled: whether the reservations of requests that died were given back by then.
        refused: the images of requests that it refused then as beyond the quota, one request after the other.
    """

    images: int
    is_settled: bool = True
    refused: tuple[int, ...] = ()


def check_billing(
    attempts: Iterable[Attempt], usage_log: Iterable[LoggedRow], quota: int, left: Mapping[str, Left] | None = None
) -> list[str]:
    """Find every broken promise about what is billed, for users with a quota in the month of the attempts.

    Args:
        attempts: everything that callers of these users sent and received.
        usage_log: the rows of the usage log.
        quota: the quota of each user, images.
        left: what was left to each user; None: that is unknown.

    Returns:
        One sentence for each broken promise; empty if there is none.
    """
    bills, attempts = _Bills(usage_log), list(attempts)
    broken = bills.impossible_rows()
    for attempt in attempts:
        broken += _answer_mistakes(attempt, bills)
    broken += _keys_with_several_answers(attempts)
    broken += _bills_for_nothing(attempts, bills)
    lost = Counter[str]()
    for attempt in attempts:
        lost[attempt.user] += attempt.may_be_reserved
    for user, billed in bills.by_user.items():
        if billed > quota:
            broken.append(f"{user}: {billed} images are billed; the quota is {quota}")
    for user, at_the_end in (left or {}).items():
        broken += _quota_mistakes(user, quota - bills.by_user[user], at_the_end, lost[user])
    return broken


class _Bills:
    """What the usage log bills. The rows of a request's single images have its id, a point and a number."""

    def __init__(self, usage_log: Iterable[LoggedRow]) -> None:
        self._rows = list(usage_log)
        self.by_user, self.by_request = Counter[str](), Counter[str]()
        self.callers: dict[str, tuple[str, str]] = {}
        for row in self._rows:
            request_id = row.request_id.partition(".")[0]
            self.by_user[row.user] += row.billable
            self.by_request[request_id] += row.billable
            self.callers[request_id] = (row.user, row.key_id)

    def impossible_rows(self) -> list[str]:
        times = Counter(row.request_id for row in self._rows)
        broken = [f"{number} rows have the request id {name}" for name, number in times.items() if number > 1]
        for row in self._rows:
            if row.billable and row.status >= 400:
                broken.append(
                    f"{row.user}: a row of status {row.status} bills {row.billable} images ({row.request_id})"
                )
            if row.billable > row.images:
                broken.append(f"{row.user}: {row.images} images were admitted, {row.billable} billed: {row}")
        return broken


def _answer_mistakes(attempt: Attempt, bills: _Bills) -> list[str]:
    """Find what is wrong about the bill of one attempt that got an answer."""
    name = attempt.request_id
    if name is None:
        return []
    if name not in bills.callers:
        needs_row = attempt.answered if attempt.is_beside_outage else attempt.status == 200
        return [f"{attempt.user}: an answer has no row ({name})"] if needs_row else []
    broken = []
    if bills.callers[name] != (attempt.user, attempt.key_id):
        broken.append(f"{attempt.user}: the row of {name} is of {bills.callers[name]}")
    billed = bills.by_request[name]
    if attempt.is_replayed:
        first = bills.by_request.get(attempt.answer_id or "")
        if billed:
            broken.append(f"{attempt.user}: {billed} images of a repeated answer are billed ({name})")
        if attempt.answered and first != attempt.answered:
            broken.append(f"{attempt.user}: {attempt.answered} images were answered again, of {first} that were billed")
    elif not attempt.answered <= billed <= (attempt.answered if attempt.is_whole else attempt.images):
        broken.append(f"{attempt.user}: {attempt.answered} images were answered, {billed} are billed ({name})")
    return broken


def _keys_with_several_answers(attempts: list[Attempt]) -> list[str]:
    answers: dict[tuple[str, str, str], set[str | None]] = defaultdict(set)
    for attempt in attempts:
        name = _name(attempt)
        if name is not None and attempt.answered:
            answers[name].add(attempt.answer_id)
    return [
        f"{user}: the idempotency key {key} was answered by {len(found)} requests: {found}"
        for (user, _, key), found in answers.items()
        if len(found) > 1
    ]


def _bills_for_nothing(attempts: list[Attempt], bills: _Bills) -> list[str]:
    """Find bills that no answer explains, nor a request whose answer was lost: of those, each explains one bill."""
    explained = {attempt.request_id for attempt in attempts} | {attempt.answer_id for attempt in attempts}
    unexplained: dict[tuple[str, str], list[int]] = defaultdict(list)
    for name, billed in bills.by_request.items():
        if billed and name not in explained:
            unexplained[bills.callers[name]].append(billed)
    lost = _lost(attempts)
    broken = []
    for caller, found in unexplained.items():
        largest = sorted(lost[caller], reverse=True) + [0] * len(found)
        if any(billed > images for billed, images in zip(sorted(found, reverse=True), largest, strict=False)):
            broken.append(f"{caller[0]}: billed without an answer: {found} images; lost were {lost[caller]}")
    return broken


def _lost(attempts: list[Attempt]) -> dict[tuple[str, str], list[int]]:
    """Return the images of each request of a caller that may be billed without an answer.

    Requests with one idempotency key are billed once at most; if one of them was answered, then that one.
    """
    answered = {_name(attempt) for attempt in attempts if attempt.answered} - {None}
    lost = [attempt for attempt in attempts if attempt.status is None and _name(attempt) not in answered]
    with_key = {_name(attempt): attempt for attempt in lost if attempt.idempotency_key is not None}
    images: dict[tuple[str, str], list[int]] = defaultdict(list)
    for attempt in (*with_key.values(), *(attempt for attempt in lost if attempt.idempotency_key is None)):
        images[attempt.user, attempt.key_id].append(attempt.images)
    return images


def _name(attempt: Attempt) -> tuple[str, str, str] | None:
    """Return what names an idempotency key: the user and the route have their own. None without one."""
    if attempt.idempotency_key is None:
        return None
    return attempt.user, attempt.endpoint, attempt.idempotency_key


def _quota_mistakes(user: str, unbilled: int, left: Left, lost: int) -> list[str]:
    """Find what is wrong about what is left of a quota of which `unbilled` images are not billed."""
    least = unbilled if left.is_settled else unbilled - lost
    broken = []
    if not least <= left.images <= unbilled:
        broken.append(
            f"{user}: {left.images} images are left of the quota; {unbilled} are not billed, {lost} were lost"
        )
    broken += [f"{user}: {images} images were refused; {least} are left" for images in left.refused if images <= least]
    return broken
