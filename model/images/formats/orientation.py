"""Reads the orientation of an image (EXIF: CIPA DC-008), from EXIF data or from XMP.

Only the first directory of EXIF data is searched, and only for the orientation: malicious data could keep a complete
EXIF reader busy for minutes.
"""

import re

UPRIGHT = 1
_TAG, _SHORT, _LONG = 0x0112, 3, 4
_MOST_ENTRIES = 512
_MOST_XMP_BYTES = 65536
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


def from_exif(exif: bytes) -> int | None:
    """Read the orientation from EXIF data, with or without its `Exif` prefix; None where it has none."""
    tiff = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return None

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)  # type: ignore[arg-type]

    directory = number(4, 4)
    for entry in range(min(number(directory, 2), _MOST_ENTRIES)):
        at = directory + 2 + 12 * entry
        if at + 12 > len(tiff):
            break
        if number(at, 2) == _TAG:
            found = number(at + 8, {_SHORT: 2, _LONG: 4}.get(number(at + 2, 2), 0))
            return found if 1 <= found <= 8 else UPRIGHT
    return None


def from_xmp(xmp: bytes) -> int:
    """Read the orientation from an XMP packet; 1 where it has none."""
    found = _IN_XMP.search(xmp[:_MOST_XMP_BYTES])
    return int(found[1]) if found else UPRIGHT


def read(exif: bytes | None, xmp: bytes | None) -> int:
    """Read the orientation from EXIF data, or from an XMP packet if they have none; 1 where neither has one."""
    found = from_exif(exif) if exif else None
    if found is not None:
        return found
    return from_xmp(xmp) if xmp else UPRIGHT
