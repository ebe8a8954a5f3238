"""Images in v2's three ways: `multipart/form-data`, the image file itself as the body, or base64 in JSON."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from api.requests import JSON, Encoded, content_type, cut_off, read_body, read_json, read_values
from api.schemas import BatchJson, ClassifyJson, Options
from problems.problem import Problem

MULTIPART = "multipart/form-data"
IMAGE_TYPES = (
    "image/jpeg",
    "image/jpg",
    "image/png",
    "image/webp",
    "image/gif",
    "image/bmp",
    "image/x-ms-bmp",
    "image/tiff",
    "application/octet-stream",
)
# BentoML's client names the parts of a list by its argument, `images`.
_FILE_FIELDS = ("image", "images")
# What a form holds beside its files is short.
MOST_FIELDS = 20
LONGEST_FIELD_BYTES = 10_000


@dataclass(frozen=True)
class Upload:
    """What a caller wants classified: the images in order, and how."""

    images: list[Encoded]
    options: Options


async def read_one(request: Request) -> Upload:
    """One image.

    Raises:
        Problem: 400, 413, 415, 422.
    """
    kind = content_type(request, MULTIPART, JSON, *IMAGE_TYPES)
    if kind == JSON:
        body = await read_json(request, ClassifyJson)
        return Upload([body.image], _options(request, body.given()))
    if kind != MULTIPART:
        return Upload([await read_body(request)], _options(request, {}))
    form = await _read_form(request, most_files=1)
    if not form.files:
        raise _no_file("image", form)
    return Upload([*form.files], _options(request, form.fields))


async def read_many(request: Request, most: int) -> Upload:
    """Several images, at most so many.

    Raises:
        Problem: 400, 413, 415, 422.
    """
    if content_type(request, MULTIPART, JSON) == JSON:
        body = await read_json(request, BatchJson)
        images: list[Encoded] = [*body.images]
        options = _options(request, body.given())
    else:
        form = await _read_form(request, most_files=most)
        if not form.files:
            raise _no_file("images", form)
        images, options = [*form.files], _options(request, form.fields)
    if len(images) > most:
        raise _too_many("images", most)
    return Upload(images, options)


def _options(request: Request, in_body: Mapping[str, object]) -> Options:
    """From the query or the body, whose word goes before."""
    in_query = read_values(request.query_params, Options)
    return read_values({**in_query.model_dump(exclude_unset=True), **in_body}, Options)


@dataclass(frozen=True)
class _Form:
    files: list[bytes]
    fields: dict[str, str]


class _InMemory(MultiPartParser):
    # The body is bounded already; a file on disk would only be slower, and impossible on a read-only one.
    spool_max_size = sys.maxsize


async def _read_form(request: Request, most_files: int) -> _Form:
    parser = _InMemory(
        request.headers,
        request.stream(),
        max_files=most_files,
        max_fields=MOST_FIELDS,
        max_part_size=LONGEST_FIELD_BYTES,
    )
    try:
        items = (await parser.parse()).multi_items()
    except ClientDisconnect:
        raise cut_off() from None
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many("image" if most_files == 1 else "images", most_files) from None
        raise _malformed() from None
    except UnicodeError:
        # Some charsets that a caller may name decode nothing at all.
        raise _malformed() from None
    files = [await value.read() for name, value in items if isinstance(value, UploadFile) and name in _FILE_FIELDS]
    return _Form(files, {name: value for name, value in items if isinstance(value, str)})


def _malformed() -> Problem:
    return Problem(400, "The multipart body is malformed; let an HTTP library write it, boundary and all.")


def _no_file(field: str, form: _Form) -> Problem:
    if form.fields.keys() & set(_FILE_FIELDS):
        detail = f"The field '{field}' is text; send a file in it, with curl as -F image=@photo.jpg."
    else:
        detail = f"The field '{field}' is missing; send a file in the part 'image', with curl as -F image=@photo.jpg."
    return Problem(422, detail, field=field)


def _too_many(field: str, most: int) -> Problem:
    several = "/v2/classify/batch takes several" if most == 1 else "split them over several requests"
    return Problem(422, f"The field '{field}' holds too many images; send at most {most}, {several}.", field=field)
