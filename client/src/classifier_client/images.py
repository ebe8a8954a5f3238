"""Turns an image in any form that the client takes into the bytes of an image file."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, runtime_checkable

from classifier_client.errors import InvalidImage, MissingPackage

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
# The modes of Pillow that a PNG file can hold.
_MODES_OF_PNG = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
# The modes through which an image is converted to one of these without loss. All others are converted to RGB.
_CONVERSIONS = {
    "PA": ("RGBA",),
    "RGBa": ("RGBA",),
    "La": ("LA",),
    "I;16B": ("I", "I;16"),
    "I;16L": ("I", "I;16"),
    "I;16N": ("I", "I;16"),
}
# Pillow converts these as if 255 were white, so that nearly every pixel would become black or white.
_MODES_WITHOUT_WHITE = frozenset({"I", "F"})


@runtime_checkable
class PillowImage(Protocol):
    """An image of Pillow."""

    def save(self, fp: IO[bytes], format: str | None = None, **params: Any) -> None:
        """Write the image as a file."""


@runtime_checkable
class NumpyArray(Protocol):
    """An array of numpy: uint8, height x width (grey), height x width x 3 (RGB) or x 4 (RGBA)."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


ImageInput: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | PillowImage | NumpyArray"


def image_bytes(image: ImageInput) -> bytes:
    """Return the image as the bytes of a file. Images of Pillow and numpy become PNG, which loses nothing.

    Args:
        image: a path, the bytes of an image file, a file that is open for reading bytes, an image of Pillow or an
            array of numpy.

    Raises:
        OSError: the file can't be read.
        InvalidImage: it is empty, an array that is no image, or an image of Pillow whose mode does not define white.
        MissingPackage: it is an array, and Pillow is not installed.
        TypeError: it is none of these.
    """
    data = _bytes_of(image)
    if not data:
        raise InvalidImage("The image is empty; send the bytes of an image file.")
    return data


def _bytes_of(image: ImageInput) -> bytes:
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        return _read(os.fspath(image))
    # In this order: an uploaded file of a web framework has `save` too, and an image of Pillow looks like an array.
    if hasattr(image, "read"):
        data = image.read()
        if isinstance(data, bytes):
            return data
        raise TypeError("Reading the file gives no bytes; open it with mode 'rb', or give the bytes that it holds.")
    if isinstance(image, PillowImage):
        return _png(image)
    if isinstance(image, NumpyArray):
        return _png(_pillow_image(image))
    raise TypeError(
        f"An image can't be a {type(image).__name__}; give a path, bytes, a file, a Pillow image or a numpy array."
    )


def _read(path: str) -> bytes:
    check_is_no_address(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        # An error of opening names the file, one of reading does not.
        error.filename = error.filename or path
        raise


def check_is_no_address(path: str) -> None:
    """Check that a path is not the address of an image.

    Raises:
        InvalidImage: it is one.
    """
    if path.startswith(("http://", "https://")):
        raise InvalidImage("The server fetches no addresses; download the image, and send the file.")


def _pillow_image(array: NumpyArray) -> PillowImage:
    try:
        from PIL import Image  # only who sends arrays needs Pillow
    except ImportError:
        raise MissingPackage("An array is sent as a PNG file, which needs Pillow: pip install pillow.") from None
    interface = array.__array_interface__
    shape, kind = tuple(interface["shape"]), interface["typestr"]
    is_image = kind == "|u1" and (len(shape) == 2 or (len(shape) == 3 and shape[2] in {3, 4})) and 0 not in shape
    if not is_image:
        raise InvalidImage(
            f"An array of shape {shape} and type {kind} is no image; give uint8, height x width, or x 3, or x 4."
        )
    image: PillowImage = Image.fromarray(array)
    return image


def _png(image: Any) -> bytes:
    from PIL import ImageOps  # a Pillow image is there, so Pillow is

    # A PNG file may lose what the original said about its orientation.
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _MODES_WITHOUT_WHITE:
        raise InvalidImage(
            f"An image of mode {upright.mode} does not say which number is white; give its file, or convert it to RGB."
        )
    if upright.mode not in _MODES_OF_PNG:
        for mode in _CONVERSIONS.get(upright.mode, ("RGB",)):
            upright = upright.convert(mode)
    file = io.BytesIO()
    upright.save(file, "PNG", compress_level=1)
    return file.getvalue()


def images_in(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Return the image files in a folder and the folders in it, by their suffix, sorted by path.

    Hidden files and folders are left out, and links to folders. A folder that can't be read is returned as if it were
    an image: whoever reads it is told why.

    Raises:
        NotADirectoryError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is no folder.")
    return iter(sorted(_found_in(root)))


def _found_in(root: Path) -> Iterator[Path]:
    unreadable: list[OSError] = []
    for place, folders, files in os.walk(root, onerror=unreadable.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(place, name)
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES and _may_be_file(path):
                yield path
    yield from (Path(error.filename) for error in unreadable)


def _may_be_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except PermissionError:
        return True
    except OSError:
        # A link to nowhere, or to itself.
        return False
