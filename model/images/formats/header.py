"""Defines what the headers of an image file tell about it."""

from dataclasses import dataclass

# The work for a row in addition to its pixels, in pixels of a baseline JPEG.
WORK_OF_ROW = 4
# The largest number of parts (chunks, blocks) read in a file; common files have some tens.
MOST_PARTS = 4096


class Unusual(Exception):
    """The file is not as common programs write it, so that only its decoder can read it."""


@dataclass(frozen=True, slots=True)
class Header:
    """An image file, and what its headers tell.

    Attributes:
        format: JPEG, PNG, WEBP, GIF, BMP or TIFF.
        file: the whole file.
        is_plain: whether all its parts are as common programs write them. Only then are the following attributes known.
        pixels: the file with only the parts that the pixels depend on.
        width, height: size of the stored image in pixels, before its orientation is applied.
        work_of_pixel: time for decoding a pixel, as a multiple of that for a pixel of a baseline JPEG.
        is_bounded: whether decoding takes no longer than that for any content of the file.
        orientation: EXIF's orientation, 1 to 8.
        has_alpha: whether pixels may be transparent; set only for WebP.
    """

    format: str
    file: bytes
    is_plain: bool = False
    pixels: bytes = b""
    width: int = 0
    height: int = 0
    work_of_pixel: float = 1.0
    is_bounded: bool = True
    orientation: int = 1
    has_alpha: bool = False

    @property
    def work(self) -> float:
        """Return the work of decoding, as the number of pixels of a baseline JPEG that take as long."""
        return (self.width * self.work_of_pixel + WORK_OF_ROW) * self.height
