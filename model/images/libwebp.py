"""Decodes a still WebP file with libwebp, the library in Pillow's wheel.

Pillow decodes every WebP file as an animation, with canvases of 16 bytes for each pixel: 800 MB for the largest image
that is accepted. The library's simple interface needs memory only for the pixels.
"""

import ctypes
from functools import cache
from pathlib import Path

import PIL
from PIL import Image

from model.errors import damaged
from model.images.formats.header import Header

# Where auditwheel (Linux) and delocate (macOS) put a wheel's libraries, relative to the package.
_PATTERNS = ("../pillow.libs/libwebp-*.so*", ".dylibs/libwebp.*.dylib")


@cache
def _library() -> ctypes.CDLL | None:
    """Load the library; None where this installation of Pillow has it elsewhere."""
    for pattern in _PATTERNS:
        for path in sorted(Path(PIL.__file__).parent.glob(pattern)):
            try:
                library = ctypes.CDLL(str(path.resolve()))
                for decode in (library.WebPDecodeRGBInto, library.WebPDecodeRGBAInto):
                    decode.restype = ctypes.c_void_p
                    decode.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
            except (OSError, AttributeError):
                continue
            return library
    return None


def decode(header: Header) -> Image.Image | None:
    """Decode the file to an RGB or RGBA image; None where the library was not found, and Pillow must decode it.

    Raises:
        NotAnImage: the file is damaged or cut off.
    """
    library = _library()
    if library is None:
        return None
    mode, bands = ("RGBA", 4) if header.has_alpha else ("RGB", 3)
    stride = header.width * bands
    pixels = bytearray(stride * header.height)
    into = (ctypes.c_char * len(pixels)).from_buffer(pixels)
    run = library.WebPDecodeRGBAInto if header.has_alpha else library.WebPDecodeRGBInto
    if run(header.pixels, len(header.pixels), into, len(pixels), stride) is None:
        raise damaged()
    del into
    return Image.frombuffer(mode, (header.width, header.height), pixels, "raw", mode, 0, 1)
