"""Reads the headers of image files without decoding them: format, size, and how much work decoding the pixels takes.

Each format has its own module, which reads the parts of a file in the order of its standard, up to a maximum number.
A file is *plain* where all its parts are as common programs write them. Its pixels are then decoded only from the parts
that they depend on, so that no other part of the file can cause work or errors. Any other file is decoded unchanged, in
a process with limits (see `inference/decoder_process.py`).
"""

from model.errors import ImageError, NotAnImage, too_many_pixels
from model.images.formats import bmp, gif, jpeg, png, tiff, webp
from model.images.formats.header import MOST_PARTS, Header

NAMES = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_READERS = (jpeg, png, webp, gif, bmp, tiff)


def read_header(data: bytes, max_pixels: int, most_png_chunks: int = MOST_PARTS) -> Header:
    """Read the headers of an image file. It takes a few microseconds for most files, and at most a few milliseconds.

    Args:
        data: the file.
        max_pixels: the largest number of pixels that an image may have.
        most_png_chunks: the largest number of chunks read in a PNG file, each in less than a microsecond; a file with
            more is not plain. In other formats the numbers of parts have fixed limits.

    Raises:
        NotAnImage: the data is not of a supported format.
        TooManyPixels: the image has more than `max_pixels`.
        TooCostly: the coding of its pixels would take too much work.
    """
    for reader in _READERS:
        if reader.is_format(data):
            break
    else:
        raise NotAnImage("The data is no image of a known format; send a JPEG, PNG, WebP, GIF, BMP or TIFF file.")
    try:
        header = png.read(data, most_png_chunks) if reader is png else reader.read(data)
    except ImageError:
        raise
    except Exception:
        # `Unusual`; or the file ends within a header, which the readers notice by many types of errors.
        return Header(reader.FORMAT, data)
    if header.width * header.height > max_pixels:
        raise too_many_pixels(header.width, header.height, max_pixels)
    return header
