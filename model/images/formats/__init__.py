"""Reads the headers of image files without decoding them: what they are, and how much work their pixels will be.

Each format has a module of its own, which walks over the parts of a file as its standard orders them, within bounds.
A file is *plain* where that walk found everything as ordinary programs write it: its pixels are then decoded from the
parts that pixels are made of alone, so that nothing else in the file can cost or spoil anything. Whatever else a file
may be is left to the decoder as it came, in a process with limits (see `inference/decoder_process.py`).
"""

from model.errors import NotAnImage, TooManyPixels
from model.images.formats import bmp, gif, jpeg, png, tiff, webp
from model.images.formats.header import MOST_PARTS, Header, Unusual

NAMES = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_READERS = (jpeg, png, webp, gif, bmp, tiff)


def read_header(data: bytes, max_pixels: int, most_chunks: int = MOST_PARTS) -> Header:
    """Read what the headers of an image file say; a few microseconds for most files, a few milliseconds at most.

    Args:
        data: the file.
        max_pixels: the most that an image may have.
        most_chunks: how many chunks of a PNG file are looked at, each of which takes less than a microsecond.

    Raises:
        NotAnImage: the data is of no format that is taken.
        TooManyPixels: the image has more than `max_pixels`.
        TooCostly: its pixels are coded in a way that would take too much work.
    """
    for reader in _READERS:
        if reader.is_format(data):
            break
    else:
        raise NotAnImage("The data is no image of a known format; send a JPEG, PNG, WebP, GIF, BMP or TIFF file.")
    try:
        header = png.read(data, most_chunks) if reader is png else reader.read(data)
    except (Unusual, IndexError):
        return Header(reader.FORMAT, data)
    if header.width * header.height > max_pixels:
        raise TooManyPixels(f"The image has {header.width} x {header.height} pixels; send one of at most {max_pixels}.")
    return header
