"""Tells a TIFF file: TIFF 6.0, and BigTIFF."""

from model.formats.header import Header, Unusual

FORMAT = "TIFF"
# As Pillow has them: two programs write the number the wrong way round.
_SIGNATURES = tuple(
    order + number
    for order in (b"II", b"MM")
    for number in (b"\x2a\x00", b"\x00\x2a", b"\x2b\x00", b"\x00\x2b")
    if (order, number) not in ((b"II", b"\x00\x2b"), (b"MM", b"\x2b\x00"))
)


def is_format(data: bytes) -> bool:
    """Tell a TIFF file by its first bytes."""
    return data.startswith(_SIGNATURES)


def read(_data: bytes) -> Header:
    """Leave the file to its decoder: tags, strips and a dozen ways of packing can each be made to cost anything.

    Raises:
        Unusual: always.
    """
    raise Unusual
