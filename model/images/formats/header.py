"""What the headers of an image file say of it."""

from dataclasses import dataclass

# What a row of an image costs, however short it is, in pixels of a baseline JPEG.
WORK_OF_ROW = 4
# Parts of a file that a walk over its headers looks at, at most: ordinary files have some tens.
MOST_PARTS = 4096


class Unusual(Exception):
    """The file is not laid out as ordinary programs write it: only its decoder can tell what it is worth."""


@dataclass(frozen=True, slots=True)
class Header:
    """An image file, and what its headers say.

    Attributes:
        format: JPEG, PNG, WEBP, GIF, BMP or TIFF.
        file: the whole file.
        is_plain: whether everything in it is as ordinary programs write it. All that follows is known only then.
        pixels: the file with nothing in it but what its pixels are made of.
        width, height: in pixels, as they are stored.
        work_of_pixel: how long decoding takes for each pixel, by what it takes for one of a baseline JPEG.
        is_bounded: whether it takes no more, whatever is in the file.
        orientation: EXIF's orientation, 1 to 8.
        has_alpha: whether pixels may be transparent; told for WebP alone.
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
        """How long decoding takes, in pixels of a baseline JPEG that take as long."""
        return (self.width * self.work_of_pixel + WORK_OF_ROW) * self.height
