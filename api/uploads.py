"""Images in v2's three ways: `multipart/form-data`, the image file itself as the body, or base64 in JSON."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from api.forms import Part, read_parts
from api.requests import BYTE_ORDER_MARK, JSON, content_type, read_body, read_json, read_values
from api.schemas import BatchJson, ClassifyJson, Options
from inference.encoded import Encoded, FormText
from web.problem import Problem

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
_IMAGE_NAMES = frozenset((b"image", b"images"))
_OPTIONS = frozenset(name.encode() for name in Options.model_fields)
_KEPT = _IMAGE_NAMES | _OPTIONS
# Parts of a form beside its images.
MOST_FIELDS = 20
# Every file of an image has a byte among its first that no text has.
_TELLING_BYTES, _TEXT = 64, bytes((*b"\t\n\r", *range(32, 127)))


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
    form = await _read_form(request, "image", 1)
    return Upload(form.images, _options(request, form.options))


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
        form = await _read_form(request, "images", most)
        images, options = form.images, _options(request, form.options)
    if len(images) > most:
        raise _too_many("images", most)
    return Upload(images, options)


def _options(request: Request, in_body: Mapping[str, object]) -> Options:
    """From the query or the body, whose word goes before."""
    in_query = read_values(request.query_params, Options)
    return read_values({**in_query.model_dump(exclude_unset=True), **in_body}, Options)


@dataclass(frozen=True)
class _Form:
    images: list[Encoded]
    options: dict[str, str]


async def _read_form(request: Request, field: str, most_images: int) -> _Form:
    def check(parts: list[Part]) -> None:
        images = sum(_is_image(part) for part in parts)
        if images > most_images:
            raise _too_many(field, most_images)
        if len(parts) - images > MOST_FIELDS:
            raise Problem(400, f"The multipart body has too many fields; send at most {MOST_FIELDS} beside the images.")

    parts = await read_parts(request, _KEPT, check)
    images = [_image_in(part) for part in parts if _is_image(part)]
    if not images:
        raise _no_image(field, parts)
    options = ((part.name, part.data) for part in parts if part.name in _OPTIONS)
    # Of several the last one counts, as in a query.
    return _Form(images, {name.decode(): value.decode(errors="replace") for name, value in options})


def _is_image(part: Part) -> bool:
    """Whether there is an image in that part; browsers send an empty one where no file was chosen."""
    return part.name in _IMAGE_NAMES and (part.file_name != b"" or any(part.chunks))


def _image_in(part: Part) -> Encoded:
    """The file itself or, where there is text in the part, its base64."""
    text = part.data.removeprefix(BYTE_ORDER_MARK)
    if part.is_base64 or not text[:_TELLING_BYTES].translate(None, _TEXT):
        return FormText(text, is_file=part.file_name is not None)
    return part.data


def _no_image(field: str, parts: list[Part]) -> Problem:
    told = "The field 'image' is missing"
    if any(part.file_name and part.name not in _KEPT for part in parts):
        told = "The field 'image' is missing, and a file came under another name"
    return Problem(422, f"{told}; send the file in the part 'image', with curl as -F image=@photo.jpg.", field=field)


def _too_many(field: str, most: int) -> Problem:
    several = "/v2/classify/batch takes several" if most == 1 else "split them over several requests"
    return Problem(422, f"The field '{field}' holds too many images; send at most {most}, {several}.", field=field)
