"""Reads the headers of a JPEG file: ITU-T T.81, annex B."""

import re

from model.errors import TooCostly
from model.images.formats import orientation
from model.images.formats.header import Header, Unusual

FORMAT = "JPEG"

_END, _SCAN, _APP0, _APP1, _APP14, _COMMENT = 0xD9, 0xDA, 0xE0, 0xE1, 0xEE, 0xFE
# Huffman-coded frames: baseline, extended, progressive; only those of 8 bits are read. Others are rare.
_FRAMES = (0xC0, 0xC1, 0xC2)
_PROGRESSIVE = 0xC2
_TABLES = (0xC4, 0xDB, 0xDD)  # Huffman and quantisation tables, the restart interval
# Common files have about 20 segments, and about 300 where metadata is split into many.
_MOST_SEGMENTS, _MOST_TABLES = 1024, 64
# The application segments that define the colours.
_COLOURS = {_APP0: b"JFIF\x00", _APP14: b"Adobe"}
_KNOWN = frozenset({*_FRAMES, *_TABLES, *range(_APP0, 0xF0), _COMMENT})
_EXIF, _XMP = b"Exif\x00\x00", b"http://ns.adobe.com/xap/1.0/\x00"
# A marker in entropy-coded data, other than an escaped byte (FF00), a fill byte (FFFF) or a restart (FFD0 to FFD7).
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# Common progressive files have 6 to 10 scans; files with one scan for each component have 3 or 4.
_MOST_SCANS = 16
# Each scan passes over all pixels, however little data it has. This many pixels in all scans take less than a second.
MOST_SCANNED_PIXELS = 800_000_000
_MOST_MARKERS = 10_000
_MOST_FILL_BYTES = 16
# The additional work of a file with several scans, per pixel: for storing all coefficients, and for each scan.
_WORK_OF_COEFFICIENTS, _WORK_OF_SCAN = 1.4, 0.1


def is_format(data: bytes) -> bool:
    """Recognise a JPEG file by its first bytes."""
    return data.startswith(b"\xff\xd8\xff")


def read(data: bytes) -> Header:
    """Read the segments before the first scan, and count the scans.

    Raises:
        Unusual: see `Unusual`.
        TooCostly: it has too many scans for its size.
    """
    segments, first_scan = _segments_before_scan(data)
    frames = [(code, data[start + 4 : end]) for code, start, end in segments if code in _FRAMES]
    kept = [data[start:end] for code, start, end in segments if _pixels_depend_on(code, data, start)]
    if len(frames) != 1 or len(kept) > _MOST_TABLES:
        raise Unusual
    [(code, frame)] = frames
    height, width, components = _size(frame)
    is_progressive = code == _PROGRESSIVE
    scans, end = 1, len(data)
    # After a scan with all components, a decoder of a sequential file expects no other scan.
    if is_progressive or data[first_scan + 4] != components:
        scans, end = _scans(data, first_scan, most=MOST_SCANNED_PIXELS // (width * height))
        if width * height * scans > MOST_SCANNED_PIXELS:
            size = f"{width} x {height} pixels in {scans} scans"
            raise TooCostly(f"The image has {size}; save it as a baseline JPEG, or smaller.")
    if scans > _MOST_SCANS:
        raise Unusual
    work = 2.0 if components == 4 else 1.0
    if is_progressive or scans > 1:
        work *= 1 + _WORK_OF_COEFFICIENTS + _WORK_OF_SCAN * scans
    metadata = [data[start + 4 : end] for code, start, end in segments if code == _APP1]
    return Header(
        FORMAT,
        data,
        is_plain=True,
        pixels=b"".join([data[:2], *kept, data[first_scan:end]]),
        width=width,
        height=height,
        work_of_pixel=work,
        orientation=orientation.read(_first(metadata, _EXIF), _first(metadata, _XMP)),
    )


def _segments_before_scan(data: bytes) -> tuple[list[tuple[int, int, int]], int]:
    """Return code, start and end of each segment before the first scan, and where that scan starts."""
    segments: list[tuple[int, int, int]] = []
    at = 2
    for _ in range(_MOST_SEGMENTS):
        code, start, end = segment = _segment(data, at)
        if code == _SCAN:
            return segments, start
        if code not in _KNOWN:
            raise Unusual
        segments.append(segment)
        at = end
    raise Unusual


def _pixels_depend_on(code: int, data: bytes, start: int) -> bool:
    return code in _FRAMES or code in _TABLES or (code in _COLOURS and data.startswith(_COLOURS[code], start + 4))


def _first(bodies: list[bytes], prefix: bytes) -> bytes | None:
    return next((body for body in bodies if body.startswith(prefix)), None)


def _segment(data: bytes, at: int) -> tuple[int, int, int]:
    """Return the code of the segment at that position, the start of its marker, and the end of the segment."""
    if data[at] != 0xFF:
        raise Unusual
    filled = at
    while data[at + 1] == 0xFF:
        at += 1
        if at - filled > _MOST_FILL_BYTES:
            raise Unusual
    length = int.from_bytes(data[at + 2 : at + 4])
    if length < 2 or at + 2 + length > len(data):
        raise Unusual
    return data[at + 1], at, at + 2 + length


def _size(frame: bytes) -> tuple[int, int, int]:
    """Return height and width in pixels, and the number of components."""
    bits, height, width, components = frame[0], int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5]), frame[5]
    # A height of 0 means that the height follows after the first scan (DNL).
    if bits != 8 or not height or not width or components not in (1, 3, 4):
        raise Unusual
    return height, width, components


def _scans(data: bytes, first: int, most: int) -> tuple[int, int]:
    """Count the scans up to `most + 1`, and find the end of the image: a telephone may append a video.

    Returns:
        the number of scans, and the end of the image.
    """
    scans, at = 0, first
    for _ in range(_MOST_MARKERS):
        code, _, end = _segment(data, at)
        scans += code == _SCAN
        if scans > most:
            break
        marker = _MARKER.search(data, end) if code == _SCAN else None
        at = marker.start() if marker else end if code != _SCAN else len(data)
        if at >= len(data):
            # The file is cut off; the decoder reports it.
            return scans, len(data)
        if data[at + 1] == _END:
            return scans, at + 2
    return scans, len(data)
