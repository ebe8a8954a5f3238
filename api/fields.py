"""The types of fields that several bodies have, with the checks of the command line."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from auth import inputs
from auth.identity import SCOPES
from storage.policy import HOW_TO_WRITE_DURATION, parse_seconds
from storage.prices import parse_amount, parse_currency

HOW_TO_WRITE_MOMENT = "write a time like 2026-11-01 or 2026-11-01T12:00:00Z"


def _seconds(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"{value}s"
    if value in ("0", "0s"):
        return 0
    if not isinstance(value, str):
        raise ValueError(HOW_TO_WRITE_DURATION)  # noqa: TRY004 - pydantic reports only this one
    return parse_seconds(value)


def _not_zero(seconds: int) -> int:
    if seconds == 0:
        raise ValueError(HOW_TO_WRITE_DURATION)
    return seconds


def _checked_limits(texts: list[str]) -> list[str]:
    return [str(limit) for limit in inputs.limits(texts)]


def _checked_quotas(texts: list[str]) -> list[str]:
    return [str(quota) for quota in inputs.quotas(texts)]


def _checked_amount(text: str) -> str:
    parse_amount(text)
    return text


def _moment(value: Any) -> datetime:
    try:
        written = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(HOW_TO_WRITE_MOMENT) from None
    return in_utc(written)


def in_utc(time: datetime) -> datetime:
    """Return the time in its zone, or in UTC if it names none."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _checked_scopes(names: list[str]) -> list[str]:
    return sorted(inputs.scopes(names))


_TIME_SCHEMA = {"anyOf": [{"type": "string", "maxLength": 20}, {"type": "integer", "minimum": 0}]}

# Seconds, which a caller may also write as a time such as `1h`.
Seconds = Annotated[int, BeforeValidator(_seconds), WithJsonSchema(_TIME_SCHEMA)]
PositiveSeconds = Annotated[Seconds, AfterValidator(_not_zero)]
Email = Annotated[str, Field(max_length=inputs.LONGEST_EMAIL), AfterValidator(inputs.email)]
UserName = Annotated[str, Field(max_length=inputs.LONGEST_EMAIL), AfterValidator(inputs.user)]
KeyName = Annotated[str, Field(max_length=inputs.LONGEST_NAME), AfterValidator(inputs.name)]
Limits = Annotated[
    list[Annotated[str, Field(max_length=30)]],
    Field(min_length=1, max_length=10),
    AfterValidator(_checked_limits),
]
# A plan may name none.
PlanLimits = Annotated[
    list[Annotated[str, Field(max_length=30)]],
    Field(max_length=10),
    AfterValidator(_checked_limits),
]
Quotas = Annotated[
    list[Annotated[str, Field(max_length=30)]],
    Field(max_length=2),
    AfterValidator(_checked_quotas),
]
PlanName = Annotated[str, Field(max_length=64), AfterValidator(inputs.plan)]
StripeCustomer = Annotated[str, Field(max_length=204), AfterValidator(inputs.customer)]
Amount = Annotated[str, Field(max_length=20), AfterValidator(_checked_amount)]
Currency = Annotated[str, Field(max_length=3), AfterValidator(parse_currency)]
# A time or a date. It has a zone: UTC if the caller names none.
Moment = Annotated[datetime, BeforeValidator(_moment)]
Scopes = Annotated[
    list[Annotated[str, Field(max_length=30, json_schema_extra={"enum": list(SCOPES)})]],
    Field(min_length=1, max_length=10),
    AfterValidator(_checked_scopes),
]
