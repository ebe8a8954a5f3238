"""Reads request bodies and queries. Its errors say what to correct. `body_limits.py` limits the size."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from auth.api_key import without_keys
from web.problem import Problem

Model = TypeVar("Model", bound=BaseModel)

JSON = "application/json"

# The most values, and the most objects and arrays, of a JSON body. The parser makes a Python object of each, without a
# pause, so all other requests wait meanwhile.
MOST_VALUES, MOST_CONTAINERS = 10_000, 1_000

# The most that an error repeats of the name of a field.
_LONGEST_NAME = 60
# What pydantic writes before the message of a `ValueError`.
OWN_ERROR = "Value error, "

# The shortest body of each route, by the field that tells the route.
_EXAMPLES = {
    "image": '{"image": "<base64>"}',
    "images": '{"images": ["<base64>", "<base64>"]}',
    "inputs": '{"inputs": "<base64>"}',
    "grace": '{"grace": "1h"}',
    "email": '{"email": "ada@example.org"}',
}

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Not taken: a small compressed body could be as much work as a large one.
_COMPRESSED = frozenset(("gzip", "x-gzip", "deflate", "br", "zstd", "compress"))


def content_type(request: Request, *taken: str) -> str:
    """Return the content type of the body, in lower case and without parameters; JSON if there is no such header.

    Raises:
        Problem: 415, the type is none of `taken`, or the body is compressed.
    """
    check_not_compressed(request)
    named = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if named not in taken:
        choice = taken[0] if len(taken) == 1 else "one of " + ", ".join(taken)
        raise Problem(415, f"Set the header Content-Type to what the body is: {choice}.")
    return named


def check_not_compressed(request: Request) -> None:
    """Check the header `Content-Encoding`.

    Raises:
        Problem: 415, the body is compressed.
    """
    codings = ",".join(request.headers.getlist("content-encoding")).lower().replace(" ", "").split(",")
    if not _COMPRESSED.isdisjoint(codings):
        detail = "Send the body as it is, without the header Content-Encoding; images are compressed already."
        raise Problem(415, detail, {"Accept-Encoding": "identity"})


async def read_json(request: Request, model: type[Model]) -> Model:
    """Return the JSON body of the request, validated.

    Raises:
        Problem: 413 (too large), 400 (not JSON), 422 (a field is missing or wrong).
    """
    return parse_json(await read_body(request), model)


def parse_json(body: bytes, model: type[Model]) -> Model:
    """Return a JSON body, validated.

    Raises:
        Problem: 400 (not JSON), 422 (a field is missing or wrong).
    """
    body = body.removeprefix(BYTE_ORDER_MARK)
    _check_cost(body, model)
    _check_numbers(body, model)
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        if not _has_line_break_in_string(error):
            raise _invalid(error, model, body) from None
    # A shell puts line breaks in the string: '{"image": "'"$(base64 photo.jpg)"'"}'. Others in JSON have no meaning, so
    # all can be removed.
    try:
        return model.model_validate_json(body.translate(None, b"\r\n"), strict=True)
    except ValidationError as error:
        raise _invalid(error, model, body) from None


async def read_body(request: Request) -> bytes:
    """Return the body of the request.

    Raises:
        Problem: 413 (too large), 400 (the connection closed).
    """
    try:
        # Starlette's `Request.body` would keep the bytes in memory until the request ends.
        return b"".join([chunk async for chunk in request.stream()])
    except ClientDisconnect:
        raise connection_closed() from None


def read_values(values: Mapping[str, object], model: type[Model]) -> Model:
    """Return the values of a query or a form, validated. Names that the model does not have are ignored.

    Raises:
        Problem: 422, names the field.
    """
    try:
        return model.model_validate({name: value for name, value in values.items() if name in model.model_fields})
    except ValidationError as error:
        raise _invalid(error, model) from None


def connection_closed() -> Problem:
    """Return a 400: the caller closed the connection before its whole body had arrived."""
    return Problem(400, "The connection closed before the whole body had arrived; send it again.")


def _check_cost(body: bytes, model: type[BaseModel]) -> None:
    """Check the number of values of a JSON body before it is parsed.

    Raises:
        Problem: 400 or 422, so many that all other requests would wait for the parser.
    """
    if has_too_many_containers(body):
        raise _not_json(model)
    if has_too_many_values(body):
        field = "images" if "images" in model.model_fields else "body"
        raise Problem(422, f"The field '{field}' holds too many values; send fewer.", field=field)


def has_too_many_containers(body: bytes) -> bool:
    """Tell whether a JSON body has more than `MOST_CONTAINERS` objects and arrays."""
    objects, arrays = (_count(body, opening, MOST_CONTAINERS) for opening in (b"{", b"["))
    return objects + arrays > MOST_CONTAINERS


def has_too_many_values(body: bytes) -> bool:
    """Tell whether a JSON body has more than `MOST_VALUES` values."""
    return _count(body, b",", MOST_VALUES) > MOST_VALUES


def _count(body: bytes, byte: bytes, most: int) -> int:
    """Count a byte, up to one more than `most`. `bytes.count` is 30 times slower where the byte is rare."""
    at = -1
    for number in range(most + 1):
        at = body.find(byte, at + 1)
        if at < 0:
            return number
    return most + 1


def _check_numbers(body: bytes, model: type[BaseModel]) -> None:
    """Check that no number is NaN or infinite: JSON has no such numbers (RFC 8259), but pydantic's models take them.

    Raises:
        Problem: 400, a number is.
    """
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError:
        # If it is no JSON for another reason, the caller is told that.
        with suppress(ValueError):
            from_json(body)
            raise _not_json(model) from None


def _not_json(model: type[BaseModel]) -> Problem:
    return Problem(400, f"The body is not valid JSON; send an object like {_example(model)}.")


def _example(model: type[BaseModel]) -> str:
    return next((_EXAMPLES[name] for name in model.model_fields if name in _EXAMPLES), "{}")


def _not_utf_8() -> Problem:
    return Problem(400, "The body is not JSON in UTF-8, but in another encoding; send it in UTF-8.")


def _has_line_break_in_string(error: ValidationError) -> bool:
    return "control character" in error.errors(include_url=False, include_input=False)[0]["msg"]


def _invalid(error: ValidationError, model: type[BaseModel], body: bytes = b"") -> Problem:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        # In UTF-16 and UTF-32 each ASCII character comes with a zero byte.
        return _not_utf_8() if b"\0" in body[:4] else _not_json(model)
    if not field:
        return Problem(422, f"The body must be a JSON object like {_example(model)}.", field="body")
    if first["type"] == "extra_forbidden":
        field = without_keys(field[: 4 * _LONGEST_NAME])[:_LONGEST_NAME]
        return Problem(422, f"The field '{field}' is none that this route takes; leave it out.", field=field)
    if first["type"] == "missing":
        return Problem(422, f"The field '{field}' is missing; add it to the body.", field=field)
    return Problem(422, f"The field '{field}' is wrong: {first['msg'].removeprefix(OWN_ERROR)}.", field=field)
