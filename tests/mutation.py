"""Requests that no caller should send: real image files damaged at random, and bodies made up by hypothesis."""

import base64
import json
import random
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from testing.photographs import COFFEE, encoded

PHOTO = Image.open(COFFEE).convert("RGB").resize((150, 100))
MARKERS = (b"\xff\xd8", b"\xff\xda", b"\xff\xc0", b"IHDR", b"IDAT", b"VP8 ", b"VP8X", b"GIF89a", b"II*\x00", b"BM")


def seeds() -> list[bytes]:
    """Small image files of every kind that is read."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encoded(PHOTO, "JPEG", exif=exif),
        encoded(PHOTO, "JPEG", progressive=True),
        encoded(PHOTO.convert("CMYK"), "JPEG"),
        encoded(PHOTO),
        encoded(PHOTO.convert("RGBA"), "PNG"),
        encoded(PHOTO.quantize(32), "PNG"),
        encoded(PHOTO.convert("I;16"), "PNG"),
        encoded(PHOTO, "WEBP"),
        encoded(PHOTO, "WEBP", lossless=True),
        encoded(PHOTO, "WEBP", save_all=True, append_images=[PHOTO.rotate(90)]),
        encoded(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(90)]),
        encoded(PHOTO, "BMP"),
        encoded(PHOTO, "TIFF"),
        encoded(PHOTO, "TIFF", compression="tiff_lzw"),
        encoded(PHOTO, "TIFF", compression="jpeg"),
        encoded(PHOTO.convert("F").point(lambda value: value * (1 / 255)), "TIFF"),
    ]


def damaged(chance: random.Random, files: list[bytes]) -> bytes:
    """One of the files, cut, flipped, spliced with another, or with greater numbers in its header."""
    data = bytearray(chance.choice(files))
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(data)), chance.randint(1, 64)
        kind = chance.choice(["cut", "flip", "zero", "splice", "header", "marker", "repeat"])
        if kind == "cut":
            del data[max(at, 4) :]
        elif kind == "flip":
            data[at] ^= 1 << chance.randrange(8)
        elif kind == "zero":
            data[at : at + length] = bytes(length)
        elif kind == "splice":
            other = chance.choice(files)
            data[at:] = other[chance.randrange(len(other)) :]
        elif kind == "header":
            data[chance.randrange(min(len(data), 64))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == "marker":
            data[at:at] = chance.choice(MARKERS)
        else:
            data[at:at] = data[at : at + length] * chance.randint(1, 200)
        if len(data) < 8:
            break
    return bytes(data)


def requests(chance: random.Random, damage: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and arguments for httpx, without end: files that are damaged, or the same as they were."""
    files = seeds()
    while True:
        data, other = (damaged(chance, files) if damage else chance.choice(files) for _ in range(2))
        text = base64.b64encode(data).decode()
        made: list[tuple[str, dict[str, Any]]] = [
            ("/v1/classify", {"json": {"image": text}}),
            ("/v2/classify", {"content": data, "headers": {"Content-Type": "image/png"}}),
            ("/v2/classify", {"files": {"image": data}}),
            ("/v2/classify/batch", {"files": [("image", data), ("image", other)]}),
            ("/v2/classify/batch", {"json": {"images": [text, text[:-3]]}}),
        ]
        yield chance.choice(made)


_texts = st.text(max_size=50)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)
_images = _texts | st.binary(max_size=200).map(lambda data: base64.b64encode(data).decode()) | _values
_bodies = (
    st.fixed_dictionaries(
        {}, optional={name: _images for name in ("image", "images", "filename", "top_k", "min_confidence")}
    ).map(lambda body: json.dumps(body).encode())
    | _values.map(lambda body: json.dumps(body).encode())
    | st.binary(max_size=500)
    | st.integers(1, 100_000).map(lambda depth: b'{"image":' + b"[" * depth)
    | st.integers(1, 100_000).map(lambda digits: b'{"image":' + b"9" * digits + b"}")
)
_types = st.sampled_from(
    [
        "application/json",
        "image/jpeg",
        "multipart/form-data; boundary=x",
        "multipart/form-data; boundary=" + "x" * 300,
        "multipart/form-data; charset=zlib; boundary=x",
        "multipart/form-data; charset=undefined; boundary=x",
        "application/x-www-form-urlencoded",
        "",
    ]
)
_parts = st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=30), st.binary(max_size=100)), max_size=5).map(
    lambda parts: (
        b"".join(
            b'--x\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n\r\n%b\r\n' % part for part in parts
        )
        + b"--x--\r\n"
    )
)
_queries = st.dictionaries(
    st.sampled_from(["top_k", "min_confidence", "x"]), _texts | st.integers().map(str), max_size=2
)

made_up_requests = st.tuples(
    st.sampled_from(["/v1/classify", "/v2/classify", "/v2/classify/batch"]), _bodies | _parts, _types, _queries
)
"""Path, body, content type and query."""
