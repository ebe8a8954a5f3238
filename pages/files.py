"""The files of the page: each is read once, compressed, and sent with an ETag.

Browsers ask again each time whether their copy is current (`no-cache`), so after an update nobody sees an old script
with a new page. The answer to that question is an empty 304.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.responses import Response

_FOLDER = Path(__file__).parent / "static"
_MEDIA_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
INDEX = "index.html"
# What the page loads. The page itself is at "/".
ASSETS = tuple(sorted(path.name for path in _FOLDER.iterdir() if path.suffix in _MEDIA_TYPES and path.name != INDEX))

# Scripts, styles and connections of this server only, and nothing inline. Pictures that the user chose are blobs.
_PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_PAGE_HEADERS = {
    "Content-Security-Policy": _PAGE_POLICY,
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


@dataclass(frozen=True)
class PageFile:
    """One file, ready to be sent.

    Attributes:
        content: the file.
        compressed: the same, compressed with gzip.
        digest: tells versions of the file apart.
        media_type: the value of `Content-Type`, without the character set.
        headers: headers that every answer with this file has.
    """

    content: bytes
    compressed: bytes
    digest: str
    media_type: str
    headers: Mapping[str, str]

    def response(self, request_headers: Mapping[str, str]) -> Response:
        """Return the file, compressed if the sender accepts gzip; or 304 if the sender has it already.

        Args:
            request_headers: the headers of the request; names are looked up in lower case.
        """
        is_compressed = _takes_gzip(request_headers.get("accept-encoding", ""))
        etag = f'"{self.digest}{"-gzip" if is_compressed else ""}"'
        headers = {**self.headers, "ETag": etag, "Cache-Control": "no-cache"}
        if is_compressed:
            headers["Content-Encoding"] = "gzip"
        if _names(request_headers.get("if-none-match", ""), etag):
            headers.pop("Content-Encoding", None)
            return Response(status_code=304, headers=headers)
        return Response(self.compressed if is_compressed else self.content, 200, headers, self.media_type)


@cache
def read(name: str) -> PageFile:
    """Return a file of the page; it is read and compressed at the first call.

    Args:
        name: `INDEX` or one of `ASSETS`.
    """
    content = (_FOLDER / name).read_bytes()
    headers = {"Vary": "Accept, Accept-Encoding", **_PAGE_HEADERS} if name == INDEX else {"Vary": "Accept-Encoding"}
    return PageFile(
        content,
        gzip.compress(content, mtime=0),
        hashlib.sha256(content).hexdigest()[:16],
        _MEDIA_TYPES[Path(name).suffix],
        headers,
    )


def _takes_gzip(accept_encoding: str) -> bool:
    codings = {part.replace(" ", "").lower() for part in accept_encoding.split(",")}
    return bool(codings & {"gzip", "gzip;q=1", "gzip;q=1.0"})


def _names(if_none_match: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags
