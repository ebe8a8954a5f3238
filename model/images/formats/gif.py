"""Reads the headers of a GIF file (GIF89a); only its first image is decoded."""

from model.images.formats.header import MOST_PARTS, Header, Unusual

FORMAT = "GIF"
_EXTENSION, _IMAGE = 0x21, 0x2C
_CONTROL = 0xF9
_WORK_OF_PIXEL = 1.5


def is_format(data: bytes) -> bool:
    """Recognise a GIF file by its first bytes."""
    return data.startswith((b"GIF87a", b"GIF89a"))


def read(data: bytes) -> Header:
    """Read the blocks before the first image.

    Raises:
        Unusual: see `Unusual`.
    """
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    at = 13 + _table_bytes(data[10])
    kept = [data[:at]]
    for _ in range(MOST_PARTS):
        if data[at] == _IMAGE:
            break
        if data[at] != _EXTENSION:
            raise Unusual
        if data[at + 1] == _CONTROL and data[at + 2] == 4:
            # Keep only the transparent colour of this block, not the delay or what happens after this image.
            kept[1:] = [bytes([_EXTENSION, _CONTROL, 4, data[at + 3] & 1, 0, 0, data[at + 6], 0])]
        at = _end_of_blocks(data, at + 2)
    else:
        raise Unusual
    left, top, across, down = (int.from_bytes(data[at + 1 + 2 * n : at + 3 + 2 * n], "little") for n in range(4))
    # An image that exceeds the screen makes the screen larger.
    width, height = max(width, left + across), max(height, top + down)
    if not across or not down:
        raise Unusual
    kept.append(data[at:])
    pixels = b"".join(kept)
    return Header(FORMAT, data, True, pixels, width, height, work_of_pixel=_WORK_OF_PIXEL)


def _table_bytes(flags: int) -> int:
    """Return the size in bytes of the colour table that the flags announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _end_of_blocks(data: bytes, at: int) -> int:
    """Return the end of a chain of data blocks."""
    for _ in range(MOST_PARTS):
        if data[at] == 0:
            return at + 1
        at += 1 + data[at]
    raise Unusual
