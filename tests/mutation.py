"""Requests that no caller should send: files, bodies, types and queries damaged at random, or made up by hypothesis."""

import base64
import json
import random
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from testing.photographs import COFFEE, encoded

PHOTO = Image.open(COFFEE).convert("RGB").resize((150, 100))
_FORM = "multipart/form-data; boundary=x"
MARKERS = (b"\xff\xd8", b"\xff\xda", b"\xff\xc0", b"IHDR", b"IDAT", b"VP8 ", b"VP8X", b"GIF89a", b"II*\x00", b"BM")


def seeds(photo: Image.Image = PHOTO) -> list[bytes]:
    """Small image files of every kind that is read."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encoded(photo, "JPEG", exif=exif),
        encoded(photo, "JPEG", progressive=True),
        encoded(photo.convert("CMYK"), "JPEG"),
        encoded(photo),
        encoded(photo.convert("RGBA"), "PNG"),
        encoded(photo.quantize(32), "PNG"),
        encoded(photo.convert("I;16"), "PNG"),
        encoded(photo, "WEBP"),
        encoded(photo, "WEBP", lossless=True),
        encoded(photo, "WEBP", save_all=True, append_images=[photo.rotate(90)]),
        encoded(photo, "GIF", save_all=True, append_images=[photo.rotate(90)]),
        encoded(photo, "BMP"),
        encoded(photo, "TIFF"),
        encoded(photo, "TIFF", compression="tiff_lzw"),
        encoded(photo, "TIFF", compression="jpeg"),
        encoded(photo.convert("F").point(lambda value: value * (1 / 255)), "TIFF"),
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


def hostile(chance: random.Random, model: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and arguments for httpx, without end: somewhere each request is damaged, from the query to the pixels.

    Args:
        chance: decides all of them.
        model: the name of the model that is served.
    """
    files = seeds(PHOTO.resize((60, 40)))
    paths = ["/v1/classify", "/v2/classify", "/v2/classify/batch", f"/models/{model}"]
    while True:
        is_file, is_body, is_type, is_query = (chance.random() < share for share in (0.6, 0.3, 0.1, 0.1))
        images = [damaged(chance, files) if is_file else chance.choice(files) for _ in range(chance.choice((1, 1, 2)))]
        kind, body = chance.choice((_as_json, _as_form, _as_it_is))(chance, images)
        if is_body:
            body = damaged(chance, [body, json.dumps({"image": None, "images": [], "inputs": ""}).encode()])
        headers = {"Content-Type": chance.choice(TYPES) if is_type else kind}
        if chance.random() < 0.1:
            headers["Accept"] = chance.choice(("application/x-ndjson", "text/html", "*/*;q=0", "\xff"))
        query = f"?{chance.choice(QUERIES)}" if is_query else ""
        encoded_headers = {name: value.encode("latin-1") for name, value in headers.items()}
        yield chance.choice(paths) + query, {"content": body, "headers": encoded_headers}


TYPES = (
    "application/json",
    "text/plain",
    "image/jpeg",
    "multipart/form-data",
    f"{_FORM}; charset=zlib",
    "",
    "\xff/x;;=",
)
QUERIES = (
    "top_k=0",
    "top_k=1e9",
    "top_k=%00",
    "min_confidence=nan",
    "min_confidence=2",
    "top_k=1&top_k=2",
    "x=%ff",
    "=&&",
)


def _as_json(chance: random.Random, images: list[bytes]) -> tuple[str, bytes]:
    written = [base64.b64encode(image) for image in images]
    if chance.random() < 0.2:
        written[0] = damaged(chance, written)
    texts = [one.decode("latin-1") for one in written]
    made = chance.choice(
        [
            {"image": texts[0]},
            {"image": texts[0], "top_k": chance.choice((1, 0, -1, 2**70, "3", None, 1.5, [])), "filename": "a\0b"},
            {"images": texts},
            {
                "inputs": texts[0],
                "parameters": {"top_k": chance.choice((1, 0, None, "x")), "function_to_apply": "tanh"},
            },
        ]
    )
    return "application/json", json.dumps(made).encode()


def _as_form(chance: random.Random, images: list[bytes]) -> tuple[str, bytes]:
    disposition = chance.choice(('name="image"; filename="a.jpg"', 'name="image"', "name=image; filename*=UTF-8''%E2"))
    parts = [b"--x\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (disposition.encode(), one) for one in images]
    return _FORM, b"".join(parts) + b"--x--\r\n"


def _as_it_is(chance: random.Random, images: list[bytes]) -> tuple[str, bytes]:
    return chance.choice(("image/png", "image/jpeg", "application/octet-stream")), images[0]


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
