"""Has Pillow read grey TIFF files of every depth, kind of sample and byte order; by itself it reads some of them.

What Pillow decodes is told by a table of layouts, to which those that it lacks are added. And libtiff, which unpacks
what is packed, gives numbers in the machine's byte order, while Pillow takes some for the file's.
"""

from PIL import Image, ImageFile, TiffImagePlugin

_UNSIGNED, _SIGNED, _FLOATING = 1, 2, 3
_ORDERS = (b"II", b"MM")
# Kind and bits of a sample: Pillow's mode, and how it calls such numbers in a little-endian and a big-endian file.
_LAYOUTS = {
    (_SIGNED, 8): (("L", "L"), ("L", "L")),
    (_UNSIGNED, 12): (("I;16", "I;12"), ("I;16", "I;12")),
    (_UNSIGNED, 16): (("I;16", "I;16"), ("I;16B", "I;16B")),
    (_SIGNED, 16): (("I", "I;16S"), ("I", "I;16BS")),
    (_UNSIGNED, 32): (("I", "I;32"), ("I", "I;32B")),
    (_SIGNED, 32): (("I", "I;32S"), ("I", "I;32BS")),
    (_FLOATING, 32): (("F", "F;32F"), ("F", "F;32BF")),
    (_FLOATING, 64): (("F", "F;64F"), ("F", "F;64BF")),
}
_IN_NATIVE_ORDER = {
    "I;16S": "I;16NS",
    "I;16BS": "I;16NS",
    "I;32": "I;32N",
    "I;32B": "I;32N",
    "I;32S": "I;32NS",
    "I;32BS": "I;32NS",
    "F;32F": "F;32NF",
    "F;32BF": "F;32NF",
    "F;64F": "F;64NF",
    "F;64BF": "F;64NF",
}


def add() -> None:
    """Add the layouts that Pillow lacks to its table. White and black are told apart later, by `samples.py`."""
    for (kind, bits), layouts in _LAYOUTS.items():
        for order, layout in zip(_ORDERS, layouts, strict=True):
            for photometric in (0, 1):
                TiffImagePlugin.OPEN_INFO.setdefault((order, photometric, (kind,), 1, (bits,), ()), layout)


def in_native_order(image: Image.Image) -> None:
    """Have an image that was opened, and is not loaded, take what libtiff unpacks in the machine's byte order."""
    if not isinstance(image, ImageFile.ImageFile):
        return
    for number, tile in enumerate(image.tile):
        if tile.codec_name == "libtiff" and isinstance(tile.args, tuple) and tile.args[0] in _IN_NATIVE_ORDER:
            args = (_IN_NATIVE_ORDER[tile.args[0]], *tile.args[1:])
            image.tile[number] = tile._replace(args=args)


add()
