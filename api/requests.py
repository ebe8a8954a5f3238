"""Reading what callers send: within the size that is allowed, and with errors that say what to mend."""

import base64
import binascii
import re
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from problems.problem import Problem

Body = TypeVar("Body", bound=BaseModel)

_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_WHITESPACE = re.compile(r"\s+")


async def read_json(request: Request, shape: type[Body], max_bytes: int) -> Body:
    """The JSON body of the request, checked against its shape.

    Raises:
        Problem: 413 (too large), 415 (another content type), 400 (no JSON), 422 (a field is missing or wrong).
    """
    content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise Problem(415, "Send the body as JSON, with the header 'Content-Type: application/json'.")
    body = await read_body(request, max_bytes)
    try:
        return shape.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise _invalid(error) from None


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body of the request; what exceeds `max_bytes` is not read.

    Raises:
        Problem: 413.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    chunks, size = [], 0
    try:
        # What is declared is not trusted: the bytes are counted as they come.
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            chunks.append(chunk)
    except ClientDisconnect:
        raise Problem(400, "The connection closed before the whole body had arrived; send it again.") from None
    return b"".join(chunks)


def image_bytes(text: str) -> bytes:
    """The image file in a base64 text or a `data:` URL; line breaks in it do no harm.

    Raises:
        Problem: 400.
    """
    if text[:5].lower() == "data:":
        prefix = _DATA_URL.match(text)
        if prefix is None:
            raise _not_base64()
        text = text[prefix.end() :]
    try:
        data = base64.b64decode(_WHITESPACE.sub("", text), validate=True)
    except (binascii.Error, ValueError):
        raise _not_base64() from None
    if not data:
        raise Problem(400, "The field 'image' is empty; put the image file in it, in base64.", field="image")
    return data


def _not_base64() -> Problem:
    return Problem(
        400,
        "The field 'image' is not valid base64; encode the image file, for example with 'base64 -w0 photo.jpg', "
        "or send a data:image/...;base64, URL.",
        field="image",
    )


def _too_large(max_bytes: int) -> Problem:
    # The rest of the body is left unread, so that the connection can't serve another request.
    return Problem(413, f"The body is larger than {max_bytes} bytes; send a smaller image.", {"Connection": "close"})


def _invalid(error: ValidationError) -> Problem:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return Problem(400, 'The body is not valid JSON; send an object like {"image": "<base64>"}.')
    if not field:
        return Problem(422, 'The body must be a JSON object like {"image": "<base64>"}.', field="body")
    if first["type"] == "missing":
        return Problem(422, f"The field '{field}' is missing; add it to the body.", field=field)
    return Problem(422, f"The field '{field}' is wrong: {first['msg']}.", field=field)
