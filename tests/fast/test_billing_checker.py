"""The checker of bills itself: it passes a bill that is right, and names each kind of mistake."""

from dataclasses import replace
from typing import Any

import pytest

from testing.billing import Attempt, Left, check_billing
from testing.history import LoggedRow

QUOTA = 20


def asked(name: str, images: int, answered: int, **parts: Any) -> Attempt:
    request_id = f"req_{name}"
    return Attempt("u", "k", 0, 0, 200, request_id, images, answered, answer_id=request_id, **parts)


def lost(images: int, idempotency_key: str | None = None) -> Attempt:
    return Attempt("u", "k", 0, 0, None, None, images, idempotency_key=idempotency_key)


def row(name: str, images: int, billable: int, status: int = 200) -> LoggedRow:
    return LoggedRow(f"req_{name}", "u", status, images, billable, "k")


ATTEMPTS = [
    asked("one", 1, 1),
    asked("batch", 3, 2),
    Attempt("u", "k", 0, 0, 400, "req_damaged", 1),
    # Lost: one was billed, and one was not. The last of all had a key, and its caller got the answer afterwards.
    lost(2),
    lost(1),
    lost(2, "order"),
    replace(asked("retry", 2, 2, idempotency_key="order", is_replayed=True), answer_id="req_lost_with_key"),
    # In lines, of which two have arrived.
    asked("lines", 4, 2, is_whole=False),
]
ROWS = [
    row("one", 1, 1),
    row("batch", 3, 2),
    row("damaged", 1, 0, 400),
    row("lost", 2, 2),
    row("lost_with_key", 2, 2),
    row("retry", 0, 0),
    *(row(f"lines.{number}", 1, 1) for number in range(3)),
]
BILLED = 10
LEFT = QUOTA - BILLED
AT_REST = Left(LEFT)


def check(
    attempts: list[Attempt] = ATTEMPTS, rows: list[LoggedRow] = ROWS, quota: int = QUOTA, left: Left = AT_REST
) -> list[str]:
    return check_billing(attempts, rows, quota, {"u": left})


def changed(name: str, **parts: Any) -> list[LoggedRow]:
    return [replace(one, **parts) if one.request_id == f"req_{name}" else one for one in ROWS]


def test_a_bill_that_is_right_passes() -> None:
    assert check() == []
    assert check(left=Left(LEFT, refused=(LEFT + 1,))) == []
    # The requests that were lost may have reserved all that they asked for.
    assert check(left=Left(LEFT - 3, is_settled=False, refused=(LEFT,))) == []


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (ROWS[1:], "an answer has no row (req_one)"),
        ([*ROWS, ROWS[0]], "2 rows have the request id req_one"),
        (changed("one", user="v"), "the row of req_one is of ('v', 'k')"),
        (changed("one", key_id="other"), "the row of req_one is of ('u', 'other')"),
        (changed("one", billable=0), "1 images were answered, 0 are billed"),
        (changed("batch", billable=3), "2 images were answered, 3 are billed"),
        (changed("one", billable=2), "1 images were admitted, 2 billed"),
        (changed("damaged", billable=1), "a row of status 400 bills 1 images"),
        (changed("retry", images=2, billable=2), "2 images of a repeated answer are billed"),
        (changed("lost_with_key", billable=1), "2 images were answered again, of 1 that were billed"),
        (changed("lost", images=3, billable=3), "billed without an answer: [3] images; lost were [2, 1]"),
        ([*ROWS, row("a", 1, 1), row("b", 1, 1)], "billed without an answer: [2, 1, 1] images; lost were [2, 1]"),
        (ROWS[:-2], "2 images were answered, 1 are billed (req_lines)"),
        ([*ROWS, row("lines.3", 1, 1), row("lines.4", 1, 1)], "2 images were answered, 5 are billed (req_lines)"),
    ],
)
def test_a_row_that_is_wrong_is_named(rows: list[LoggedRow], said: str) -> None:
    assert any(said in told for told in check(rows=rows))


def test_a_key_that_two_requests_answer_is_named() -> None:
    again = asked("again", 2, 2, idempotency_key="order")
    found = check([*ATTEMPTS, again], [*ROWS, row("again", 2, 2)])
    assert any("the idempotency key order was answered by 2 requests" in told for told in found)


def test_a_key_that_was_never_answered_explains_one_bill() -> None:
    attempts = [lost(2, "order"), lost(2, "order")]
    assert check_billing(attempts, [row("a", 2, 2)], QUOTA) == []
    assert check_billing(attempts, [row("a", 2, 2), row("b", 2, 2)], QUOTA) != []


def test_a_quota_that_is_exceeded_or_not_used_up_is_named() -> None:
    assert any("10 images are billed; the quota is 9" in told for told in check(quota=BILLED - 1))
    for left in (Left(LEFT + 1), Left(LEFT - 1), Left(LEFT - 10, is_settled=False), Left(LEFT + 1, is_settled=False)):
        assert any("are left of the quota" in told for told in check(left=left))
    assert any("were refused" in told for told in check(left=Left(LEFT, refused=(LEFT,))))


def test_beside_an_outage_only_what_was_answered_needs_a_row() -> None:
    unanswered = asked("lines", 3, 0, is_beside_outage=True)
    assert check_billing([unanswered], [], QUOTA, {"u": Left(17, is_settled=False)}) == []
    settled = check_billing([unanswered], [row("other", 0, 0)], QUOTA, {"u": Left(17)})
    assert settled == ["u: 17 images are left of the quota; 20 are not billed, 3 were lost"]
    answered = asked("lines", 3, 1, is_beside_outage=True)
    assert check_billing([answered], [], QUOTA) == ["u: an answer has no row (req_lines)"]
    assert check_billing([replace(unanswered, is_beside_outage=False)], [], QUOTA) == [
        "u: an answer has no row (req_lines)"
    ]
