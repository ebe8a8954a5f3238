"""The types of fields that several bodies have, with the checks of the command line."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from auth import inputs
from auth.identity import SCOPES
from storage.policy import parse_seconds


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
Scopes = Annotated[
    list[Annotated[str, Field(max_length=30, json_schema_extra={"enum": list(SCOPES)})]],
    Field(min_length=1, max_length=10),
    AfterValidator(_checked_scopes),
]
