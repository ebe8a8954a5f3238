"""The kinds of requests that callers send. Bodies are encoded before the run, so that only the server is measured."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from testing.http_load import JSON, photos
from testing.photographs import as_base64

USUAL = (500, 375)
LARGE = (3000, 2000)
BATCH_IMAGES = 4
_BOUNDARY = "loadtest-9f2c1b7e"
_MULTIPART = f"multipart/form-data; boundary={_BOUNDARY}"


@dataclass(frozen=True)
class Kind:
    """One kind of request.

    Attributes:
        name: its name in reports and in `slo.toml`.
        method: the HTTP method.
        path: the path of the route.
        encode: makes the bodies, which are sent in turn.
        content_type: of the bodies; empty without a body.
        images: the hits that an admitted request costs; 0 for a request that only reads.
        status: the expected status.
        expected_text: a part of the body of every expected answer.
    """

    name: str
    method: str
    path: str
    encode: Callable[[], Sequence[bytes]]
    content_type: str = ""
    images: int = 0
    status: int = 200
    expected_text: bytes = b'"predictions"'

    @cached_property
    def bodies(self) -> Sequence[bytes]:
        """The encoded bodies; made once."""
        return self.encode()


def _json(data: bytes) -> bytes:
    return json.dumps({"image": as_base64(data)}).encode()


def _form(images: Sequence[bytes]) -> bytes:
    head = 'Content-Disposition: form-data; name="image"; filename="photo.jpg"\r\nContent-Type: image/jpeg'
    parts = [f"--{_BOUNDARY}\r\n{head}\r\n\r\n".encode() + image + b"\r\n" for image in images]
    return b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()


def _photos() -> list[bytes]:
    return [_json(data) for data in photos(USUAL, 8)]


def _bad() -> list[bytes]:
    [photo] = photos(USUAL, 1)
    return [_json(photo[: len(photo) // 2]), _json(b"a cup of coffee"), b'{"image": "no base64!"}', b'{"image": ']


def _read(name: str, path: str, expected_text: bytes) -> Kind:
    return Kind(name, "GET", path, lambda: [b""], expected_text=expected_text)


_CLASSIFY = ("POST", "/v1/classify")
_UPLOAD = ("POST", "/v2/classify")
_ALL = (
    Kind("photo", *_CLASSIFY, _photos, JSON, 1),
    Kind("stampede", *_CLASSIFY, _photos, JSON, 1),
    Kind("bad", *_CLASSIFY, _bad, JSON, 1, status=400, expected_text=b'"request_id"'),
    Kind("upload", *_UPLOAD, lambda: [_form([data]) for data in photos(USUAL, 8)], _MULTIPART, 1),
    Kind("large", *_UPLOAD, lambda: [_form([data]) for data in photos(LARGE, 2)], _MULTIPART, 1),
    Kind(
        "batch",
        "POST",
        "/v2/classify/batch",
        lambda: [_form(photos(USUAL, BATCH_IMAGES))],
        _MULTIPART,
        BATCH_IMAGES,
        expected_text=b'"results"',
    ),
    _read("limits", "/v2/limits", b'"policies"'),
    _read("usage", "/v1/usage", b'"total_requests"'),
    _read("models", "/v2/models", b'"models"'),
)
KINDS = {kind.name: kind for kind in _ALL}
