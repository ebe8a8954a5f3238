"""Reads the headers of a JPEG file: ITU-T T.81, annex B."""

import re

from model.errors import TooCostly
from model.formats import orientation
from model.formats.header import Header, Unusual

FORMAT = "JPEG"

_END, _SCAN, _APP0, _APP1, _APP14, _COMMENT = 0xD9, 0xDA, 0xE0, 0xE1, 0xEE, 0xFE
# Huffman-coded frames of 8 bits: baseline, extended, progressive. Others exist, and are rare.
_FRAMES = (0xC0, 0xC1, 0xC2)
_PROGRESSIVE = 0xC2
_TABLES = (0xC4, 0xDB, 0xDD)  # Huffman and quantisation tables, the restart interval
# Ordinary files have some 20, and some 300 where metadata comes in many pieces.
_MOST_SEGMENTS, _MOST_TABLES = 1024, 64
# The application segments that say what the colours are.
_COLOURS = {_APP0: b"JFIF\x00", _APP14: b"Adobe"}
_EXIF, _XMP = b"Exif\x00\x00", b"http://ns.adobe.com/xap/1.0/\x00"
# A marker in entropy-coded data: no escaped byte, no restart.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# Ordinary progressive files have 6 to 10 scans; a scan of a component each makes 3 or 4.
_MOST_SCANS = 16
# Each scan goes over all pixels again, however little it holds: so many pixels in all take less than a second.
MOST_SCANNED_PIXELS = 800_000_000
_MOST_MARKERS = 10_000
# What several scans cost, in pixels of one: coefficients are kept for all, and gone over by each.
_WORK_OF_COEFFICIENTS, _WORK_OF_SCAN = 1.4, 0.1


def is_format(data: bytes) -> bool:
    """Tell a JPEG file by its first bytes."""
    return data.startswith(b"\xff\xd8\xff")


def read(data: bytes) -> Header:
    """Read the segments before the first scan, and count the scans.

    Raises:
        Unusual: see `Header`.
        TooCostly: it has too many scans for its size.
    """
    frame = exif = xmp = None
    is_progressive = False
    kept = [data[:2]]
    at = 2
    for _ in range(_MOST_SEGMENTS):
        code, start, end = _segment(data, at)
        body = data[start + 4 : end]
        if code == _SCAN:
            break
        if code in _FRAMES:
            if frame is not None:
                raise Unusual
            frame, is_progressive = body, code == _PROGRESSIVE
        elif code == _APP1:
            exif = body if exif is None and body.startswith(_EXIF) else exif
            xmp = body if xmp is None and body.startswith(_XMP) else xmp
        elif code not in _TABLES and not (_APP0 <= code < 0xF0 or code == _COMMENT):
            raise Unusual
        if code in _FRAMES or code in _TABLES or body.startswith(_COLOURS.get(code, ())):
            kept.append(data[start:end])
        at = end
    else:
        raise Unusual
    if frame is None or len(kept) > _MOST_TABLES:
        raise Unusual
    height, width, components = _size(frame)
    scans, end = _scans(data, start)
    if scans > 1 and width * height * scans > MOST_SCANNED_PIXELS:
        size = f"{width} x {height} pixels in {scans} scans"
        raise TooCostly(f"The image has {size}; save it as a baseline JPEG, or smaller.")
    if scans > _MOST_SCANS:
        raise Unusual
    several = is_progressive or scans > 1
    work = width * height * (2 if components == 4 else 1)
    return Header(
        FORMAT,
        data,
        is_plain=True,
        pixels=b"".join([*kept, data[start:end]]),
        width=width,
        height=height,
        work=work * (1 + _WORK_OF_COEFFICIENTS + _WORK_OF_SCAN * scans) if several else work,
        orientation=orientation.of(exif, xmp),
    )


def _segment(data: bytes, at: int) -> tuple[int, int, int]:
    """The code of the segment at that place, where its marker begins, and where it ends."""
    if data[at] != 0xFF:
        raise Unusual
    while data[at + 1] == 0xFF:
        at += 1
    length = int.from_bytes(data[at + 2 : at + 4])
    if length < 2 or at + 2 + length > len(data):
        raise Unusual
    return data[at + 1], at, at + 2 + length


def _size(frame: bytes) -> tuple[int, int, int]:
    """Height, width and number of components."""
    bits, height, width, components = frame[0], int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5]), frame[5]
    # (A height of 0 is told after the first scan.)
    if bits != 8 or not height or not width or components not in (1, 3, 4):
        raise Unusual
    return height, width, components


def _scans(data: bytes, first: int) -> tuple[int, int]:
    """How many scans there are from the first on, and where the image ends: a telephone's may have a film behind it."""
    if data.find(b"\xff\xda", first + 2) < 0:
        return 1, len(data)
    scans, at = 0, first
    for _ in range(_MOST_MARKERS):
        code, _, end = _segment(data, at)
        scans += code == _SCAN
        marker = _MARKER.search(data, end) if code == _SCAN else None
        at = marker.start() if marker else end if code != _SCAN else len(data)
        if at >= len(data):
            # Cut off: the decoder says so.
            return scans, len(data)
        if data[at + 1] == _END:
            return scans, at + 2
    return scans, len(data)
