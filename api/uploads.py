"""Reads the images of v2: from `multipart/form-data`, from a body that is the image file, or from base64 in JSON."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from api.forms import Part, read_parts
from api.requests import BYTE_ORDER_MARK, JSON, content_type, read_body, read_json, read_values
from api.routes import MESSAGE
from api.schemas import BatchJson, ClassifyJson, Options
from inference.encoded_image import EncodedImage, TextPart
from web import context
from web.problem import Problem

MULTIPART = "multipart/form-data"
# The type of a message of a WebSocket that is not binary.
TEXT = "text/plain"
# The type of a file whose bytes tell what it is.
IMAGE = "application/octet-stream"
IMAGE_TYPES = (
    "image/jpeg",
    "image/jpg",
    "image/png",
    "image/webp",
    "image/gif",
    "image/bmp",
    "image/x-ms-bmp",
    "image/tiff",
    IMAGE,
)
# BentoML's client names the parts of a list after its argument, `images`.
_IMAGE_NAMES = frozenset((b"image", b"images"))
_OPTIONS = frozenset(name.encode() for name in Options.model_fields)
_KEPT = _IMAGE_NAMES | _OPTIONS
# The most parts of a form that are not images.
MOST_FIELDS = 20
# The first bytes of every image file include one that no ASCII text has.
_FIRST_BYTES, _TEXT_BYTES = 64, bytes((*b"\t\n\r", *range(32, 127)))


@dataclass(frozen=True)
class Upload:
    """The images of a request, in order, and how to answer."""

    images: list[EncodedImage]
    options: Options


async def read_one(request: Request) -> Upload:
    """Read a request with one image.

    Raises:
        Problem: 400, 413, 415, 422.
    """
    if context.of(request.scope).match == MESSAGE and request.headers["content-type"] == TEXT:
        raise Problem(415, "Send each image as a binary message; this message was text.")
    media_type = content_type(request, MULTIPART, JSON, *IMAGE_TYPES)
    if media_type == JSON:
        body = await read_json(request, ClassifyJson)
        return Upload([body.image], _options(request, body.given()))
    if media_type != MULTIPART:
        return Upload([await read_body(request)], _options(request, {}))
    form = await _read_form(request, "image", 1)
    return Upload(form.images, _options(request, form.options))


async def read_many(request: Request, most: int) -> Upload:
    """Read a request with several images, at most `most`.

    Raises:
        Problem: 400, 413, 415, 422.
    """
    if content_type(request, MULTIPART, JSON) == JSON:
        body = await read_json(request, BatchJson)
        images: list[EncodedImage] = [*body.images]
        options = _options(request, body.given())
    else:
        form = await _read_form(request, "images", most)
        images, options = form.images, _options(request, form.options)
    if len(images) > most:
        raise _too_many("images", most)
    return Upload(images, options)


def _options(request: Request, in_body: Mapping[str, object]) -> Options:
    """Return the options from the query and the body. If both name an option, the body counts."""
    in_query = read_values(request.query_params, Options)
    return read_values({**in_query.model_dump(exclude_unset=True), **in_body}, Options)


@dataclass(frozen=True)
class _Form:
    images: list[EncodedImage]
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
    # If a name comes twice, the last value counts, as in a query.
    return _Form(images, {name.decode(): value.decode(errors="replace") for name, value in options})


def _is_image(part: Part) -> bool:
    """Return whether the part holds an image. Browsers send an empty part if the user chose no file."""
    return part.name in _IMAGE_NAMES and (part.file_name != b"" or any(part.chunks))


def _image_in(part: Part) -> EncodedImage:
    """Return the data of the part: text, which should be base64, or the image file itself."""
    text = part.data.removeprefix(BYTE_ORDER_MARK)
    if part.is_base64 or not text[:_FIRST_BYTES].translate(None, _TEXT_BYTES):
        return TextPart(text, is_file=part.file_name is not None)
    return part.data


def _no_image(field: str, parts: list[Part]) -> Problem:
    missing = "The field 'image' is missing"
    if any(part.file_name and part.name not in _KEPT for part in parts):
        missing = "The field 'image' is missing, and a file came under another name"
    return Problem(422, f"{missing}; send the file in the part 'image', with curl as -F image=@photo.jpg.", field=field)


def _too_many(field: str, most: int) -> Problem:
    several = "/v2/classify/batch takes several" if most == 1 else "split them over several requests"
    return Problem(422, f"The field '{field}' holds too many images; send at most {most}, {several}.", field=field)
