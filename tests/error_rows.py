"""The rows of the error table that a caller earns by what it sends: the request, and what its answer must say."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from testing.photographs import COFFEE, as_base64, encoded

PHOTO = COFFEE.read_bytes()
SMALL = encoded(Image.new("RGB", (64, 64)), "PNG")
MAX_BODY = 1_000_000
JSON = {"Content-Type": "application/json"}


def wrap(path: str, image: Any) -> dict[str, Any]:
    return {"json": {"images": [image]} if path.endswith("batch") else {"image": image}}


@dataclass(frozen=True)
class Row:
    """One way to earn an error: the request, and what must be in the answer."""

    status: int
    send: Callable[[str], dict[str, Any]]
    says: str
    field: str | None = None


ROWS = {
    "malformed JSON": Row(400, lambda _: {"content": b'{"image"', "headers": JSON}, "JSON"),
    "JSON nested without end": Row(400, lambda _: {"content": b"[" * 500_000, "headers": JSON}, "JSON"),
    "text that is no UTF-8": Row(400, lambda _: {"content": b'{"image": "\xff"}', "headers": JSON}, "JSON"),
    "half a surrogate": Row(400, lambda _: {"content": b'{"image": "\\ud800"}', "headers": JSON}, "JSON"),
    "field missing": Row(422, lambda _: {"json": {}}, "missing", "image"),
    "field of a wrong type": Row(422, lambda path: wrap(path, 5), "image", "image"),
    "number without end": Row(422, lambda path: wrap(path, 10**4000), "image", "image"),
    "body too large": Row(413, lambda _: {"content": b" " * (MAX_BODY + 1), "headers": JSON}, f"{MAX_BODY} bytes"),
    "body too large, in chunks": Row(
        413, lambda _: {"content": iter([b" " * 65536] * 200), "headers": JSON}, f"{MAX_BODY} bytes"
    ),
    "another content type": Row(415, lambda _: {"content": b"a=b", "headers": {"Content-Type": "text/html"}}, "json"),
}
OF_ONE_IMAGE = {
    "invalid base64": Row(400, lambda path: wrap(path, "!"), "base64", "image"),
    "no image": Row(400, lambda path: wrap(path, as_base64(b"text")), "JPEG, PNG", "image"),
    "truncated": Row(400, lambda path: wrap(path, as_base64(PHOTO[:5000])), "cut off", "image"),
    "another format": Row(
        400, lambda path: wrap(path, as_base64(encoded(Image.new("RGB", (9, 9)), "PPM"))), "JPEG, PNG", "image"
    ),
    "too many pixels": Row(
        422, lambda path: wrap(path, as_base64(encoded(Image.new("1", (9000, 9000))))), "9000 x 9000", "image"
    ),
}
OF_V2 = {
    "boundary missing": Row(
        400, lambda _: {"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, "boundary"
    ),
    "malformed form": Row(
        400,
        lambda _: {"content": b"--y\r\n\xff", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        "malformed",
    ),
    "form without a file": Row(422, lambda _: {"files": {"other": b"x"}}, "missing", "image"),
    "out of range": Row(422, lambda path: {**wrap(path, "x"), "params": {"top_k": "-1"}}, "top_k", "top_k"),
    "too many images": Row(422, lambda _: {"files": [("image", SMALL)] * 4}, "too many images", "image"),
}
