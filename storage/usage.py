"""The usage ledger: what was asked, by whom, and how it was answered. Rows are inserted and never changed."""

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, case, func, insert, select

from storage.models import usage_log


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One authenticated request. `at_us` is when it arrived; `images` what it cost the user's limit."""

    request_id: str
    user_id: str
    key_id: str
    endpoint: str
    method: str
    status: int
    response_ms: float
    at_us: int
    images: int


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """A user's admitted classifications: how many, how many of them answered with success, the mean time in ms."""

    total: int
    successful: int
    mean_response_ms: float


_insert = insert(usage_log)


def record(connection: Connection, row: UsageRow) -> None:
    """Add a row to the ledger."""
    connection.execute(_insert, asdict(row))


def summary(connection: Connection, user_id: str) -> UsageSummary:
    """The user's own admitted classifications, all together."""
    succeeded = case((usage_log.c.status < 400, 1), else_=0)
    question = select(func.count(), func.sum(succeeded), func.avg(usage_log.c.response_ms)).where(
        usage_log.c.user_id == user_id, usage_log.c.images > 0
    )
    total, successful, mean = connection.execute(question).one()
    return UsageSummary(total, successful or 0, mean or 0.0)
