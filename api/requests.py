"""Reads what callers send, with errors that say what to mend. `body_limits.py` bounds its size."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from web.problem import Problem

Shape = TypeVar("Shape", bound=BaseModel)

JSON = "application/json"

# What a JSON body holds at most beside its strings. A parser makes an object of each value, all of them at once, and
# nothing else runs meanwhile.
MOST_VALUES, MOST_CONTAINERS = 10_000, 1_000

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Compressed, a small body could cost as much as a large one.
_COMPRESSED = frozenset(("gzip", "x-gzip", "deflate", "br", "zstd", "compress"))


def content_type(request: Request, *taken: str) -> str:
    """The content type of the body, in small letters and without parameters; JSON where none is named.

    Raises:
        Problem: 415, it is none of `taken`, or the body is compressed.
    """
    codings = request.headers.get("content-encoding", "").lower().replace(" ", "").split(",")
    if not _COMPRESSED.isdisjoint(codings):
        detail = "Send the body as it is, without the header Content-Encoding; images are compressed already."
        raise Problem(415, detail, {"Accept-Encoding": "identity"})
    named = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if named not in taken:
        choice = taken[0] if len(taken) == 1 else "one of " + ", ".join(taken)
        raise Problem(415, f"Set the header Content-Type to what the body is: {choice}.")
    return named


async def read_json(request: Request, shape: type[Shape]) -> Shape:
    """The JSON body of the request, checked against its shape.

    Raises:
        Problem: 413 (too large), 400 (no JSON), 422 (a field is missing or wrong).
    """
    body = (await read_body(request)).removeprefix(BYTE_ORDER_MARK)
    _check_cost(body, shape)
    try:
        return shape.model_validate_json(body, strict=True)
    except ValidationError as error:
        if not _breaks_a_line_in_a_string(error):
            raise _invalid(error, body) from None
    # A shell does it to base64 in lines: '{"image": "'"$(base64 photo.jpg)"'"}'. Between values they mean nothing.
    try:
        return shape.model_validate_json(body.translate(None, b"\r\n"), strict=True)
    except ValidationError as error:
        raise _invalid(error, body) from None


async def read_body(request: Request) -> bytes:
    """The body of the request.

    Raises:
        Problem: 413 (too large), 400 (the caller went away).
    """
    try:
        # (Starlette's own `body` would keep it for as long as the request lives.)
        return b"".join([chunk async for chunk in request.stream()])
    except ClientDisconnect:
        raise cut_off() from None


def read_values(values: Mapping[str, object], shape: type[Shape]) -> Shape:
    """What came in a query or a form, as its shape; names that the shape does not know are left out.

    Raises:
        Problem: 422, naming the field.
    """
    try:
        return shape.model_validate({name: value for name, value in values.items() if name in shape.model_fields})
    except ValidationError as error:
        raise _invalid(error) from None


def cut_off() -> Problem:
    """400: the caller went away before its body was whole."""
    return Problem(400, "The connection closed before the whole body had arrived; send it again.")


def _check_cost(body: bytes, shape: type[BaseModel]) -> None:
    """Raise where a JSON body has so many values that to parse it would keep everybody waiting."""
    if body.count(b"[") + body.count(b"{") > MOST_CONTAINERS:
        raise _not_json()
    if body.count(b",") > MOST_VALUES:
        field = "images" if "images" in shape.model_fields else "body"
        raise Problem(422, f"The field '{field}' holds too many values; send fewer.", field=field)


def _not_json() -> Problem:
    return Problem(400, 'The body is not valid JSON; send an object like {"image": "<base64>"}.')


def _not_utf_8() -> Problem:
    return Problem(400, "The body is not JSON in UTF-8, but in another encoding; send it in UTF-8.")


def _breaks_a_line_in_a_string(error: ValidationError) -> bool:
    return "control character" in error.errors(include_url=False, include_input=False)[0]["msg"]


def _invalid(error: ValidationError, body: bytes = b"") -> Problem:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        # In UTF-16 and UTF-32 every sign of JSON has a zero beside it.
        return _not_utf_8() if b"\0" in body[:4] else _not_json()
    if not field:
        return Problem(422, 'The body must be a JSON object like {"image": "<base64>"}.', field="body")
    if first["type"] == "missing":
        return Problem(422, f"The field '{field}' is missing; add it to the body.", field=field)
    return Problem(422, f"The field '{field}' is wrong: {first['msg']}.", field=field)
