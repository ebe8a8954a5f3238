"""Reading what callers send, with errors that say what to mend. How large it may be is the business of `intake.py`."""

import re
from collections.abc import Mapping
from typing import TypeVar

import pybase64
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from problems.problem import Problem

Shape = TypeVar("Shape", bound=BaseModel)
# An image as it came: the file itself, or its base64.
Encoded = bytes | str

JSON = "application/json"

# What a JSON body holds at most beside its strings. A parser makes an object of each value, all of them at once, and
# nothing else runs meanwhile.
MOST_VALUES, MOST_CONTAINERS = 10_000, 1_000

_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_WHITESPACE = b" \t\n\r\f\v"


def content_type(request: Request, *taken: str) -> str:
    """The content type of the body, in small letters and without parameters; JSON where none is named.

    Raises:
        Problem: 415, it is none of `taken`.
    """
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
    body = await read_body(request)
    _check_cost(body, shape)
    try:
        return shape.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise _invalid(error) from None


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


def image_bytes(encoded: Encoded) -> bytes:
    """The image file that came as itself, in base64, or as a `data:` URL; line breaks in base64 do no harm.

    Raises:
        Problem: 400.
    """
    data = encoded if isinstance(encoded, bytes) else _from_base64(encoded)
    if not data:
        raise Problem(400, "The image is empty; send an image file, in JSON as base64.", field="image")
    return data


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


def _from_base64(text: str) -> bytes:
    if text[:5].lower() == "data:":
        prefix = _DATA_URL.match(text)
        if prefix is None:
            raise _not_base64()
        text = text[prefix.end() :]
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        # Line breaks are rare, and taking them out is dear.
        try:
            return pybase64.b64decode(text.encode("ascii").translate(None, _WHITESPACE), validate=True)
        except ValueError:
            raise _not_base64() from None


def _not_base64() -> Problem:
    return Problem(
        400,
        "The image is not valid base64; encode the image file, for example with 'base64 -w0 photo.jpg', "
        "or send a data:image/...;base64, URL.",
        field="image",
    )


def _not_json() -> Problem:
    return Problem(400, 'The body is not valid JSON; send an object like {"image": "<base64>"}.')


def _invalid(error: ValidationError) -> Problem:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return _not_json()
    if not field:
        return Problem(422, 'The body must be a JSON object like {"image": "<base64>"}.', field="body")
    if first["type"] == "missing":
        return Problem(422, f"The field '{field}' is missing; add it to the body.", field=field)
    return Problem(422, f"The field '{field}' is wrong: {first['msg']}.", field=field)
