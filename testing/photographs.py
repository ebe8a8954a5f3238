"""Photographs for tests: those of scikit-image, and crops of them."""

import base64
import io
from functools import cache
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

DATA = Path(skimage.__file__).parent / "data"
COFFEE = DATA / "coffee.png"
CAT = DATA / "chelsea.png"
_COLOURED = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "retina.jpg",
    "rocket.jpg",
)


def as_base64(data: bytes) -> str:
    """Return the data in base64 (RFC 4648, the standard alphabet)."""
    return base64.b64encode(data).decode()


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return the image as a file; `kind` is Pillow's name of the format, `options` are those of `Image.save`."""
    buffer = io.BytesIO()
    # Pillow keeps the options of saving in the image itself, and several threads may be saving it.
    image.copy().save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def crops(number: int) -> tuple[Image.Image, ...]:
    """Return crops of photographs, of various sizes and proportions; the same ones in every process."""
    random = np.random.default_rng(18)
    made = []
    for index in range(number):
        photo = _photo(_COLOURED[index % len(_COLOURED)])
        width, height = (int(random.uniform(0.4, 1) * edge) for edge in photo.size)
        left, top = int(random.integers(photo.width - width + 1)), int(random.integers(photo.height - height + 1))
        made.append(photo.crop((left, top, left + width, top + height)))
    return tuple(made)


@cache
def _photo(name: str) -> Image.Image:
    return Image.open(DATA / name).convert("RGB")
