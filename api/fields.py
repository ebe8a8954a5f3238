"""The types of fields that several bodies have, with the checks of the command line."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from auth import inputs
from auth.identity import SCOPES
from storage.policy import parse_seconds
from storage.prices import parse_amount, parse_currency

WRITE_A_TIME = "write a time like 2026-11-01 or 2026-11-01T12:00:00Z"


def _seconds(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"{value}s" if value else "0s"
    if value in ("0", "0s"):
        return 0
    if not isinstance(value, str):
        raise ValueError("write a time like 30d, 12h, 15m or 90s")  # noqa: TRY004 - pydantic reports only this one
    return parse_seconds(value)


def _is_some_time(seconds: int) -> int:
    if seconds == 0:
        raise ValueError("write a time like 30d, 12h, 15m or 90s")
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
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(WRITE_A_TIME) from None


def _checked_scopes(names: list[str]) -> list[str]:
    return sorted(inputs.scopes(names))


_TIME_SCHEMA = {"anyOf": [{"type": "string", "maxLength": 20}, {"type": "integer", "minimum": 0}]}

# Seconds, which a caller may also write as a time such as `1h`.
Seconds = Annotated[int, BeforeValidator(_seconds), WithJsonSchema(_TIME_SCHEMA)]
SomeSeconds = Annotated[Seconds, AfterValidator(_is_some_time)]
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
# A time or a date, in UTC if it names no zone.
Moment = Annotated[datetime, BeforeValidator(_moment)]
Scopes = Annotated[
    list[Annotated[str, Field(max_length=30, json_schema_extra={"enum": list(SCOPES)})]],
    Field(min_length=1, max_length=10),
    AfterValidator(_checked_scopes),
]
