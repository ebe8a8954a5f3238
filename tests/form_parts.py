"""Forms as clients write them, by hand: parts that hold an image, boundaries, and what is no form any more."""

import base64
import textwrap

from PIL import Image

from testing.photographs import COFFEE, encoded

PHOTO = encoded(Image.open(COFFEE).convert("RGB").resize((301, 200)), "JPEG")
BASE64 = base64.b64encode(PHOTO)
LINES = "\r\n".join(textwrap.wrap(BASE64.decode(), 76)).encode()
Part = tuple[str, bytes]


def part(header: str = 'name="image"; filename="photo.jpg"', data: bytes = PHOTO, *more: str) -> Part:
    return "\r\n".join([f"Content-Disposition: form-data; {header}", *more]), data


def form(*parts: Part, boundary: str = "x") -> bytes:
    written = b"".join(b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary.encode(), head.encode(), data) for head, data in parts)
    return written + f"--{boundary}--\r\n".encode()


IMAGE_PARTS = {
    "as everybody writes it": part(),
    "with a type": part('name="image"; filename="photo.jpg"', PHOTO, "Content-Type: image/jpeg"),
    "with the wrong type": part('name="image"; filename="photo.jpg"', PHOTO, "Content-Type: text/plain"),
    "without quotes": part("name=image; filename=photo.jpg"),
    "the name last": part('filename="photo.jpg"; name="image"'),
    "without a file name": part('name="image"', PHOTO, "Content-Type: image/jpeg"),
    "without a file name or a type": part('name="image"'),
    "with an empty file name": part('name="image"; filename=""'),
    "with another alphabet's file name alone": part("name=\"image\"; filename*=UTF-8''caf%C3%A9.jpg"),
    "with both file names": part('name="image"; filename="cafe.jpg"; filename*=UTF-8\'\'caf%C3%A9.jpg'),
    "with a file name in UTF-8": part('name="image"; filename="café; \\"x\\".jpg"'),
    "with a path of Windows": part('name="image"; filename="C:\\photos\\x.jpg"'),
    "with a long file name": part(f'name="image"; filename="{"x" * 2000}.jpg"'),
    "with names in capitals": ('CONTENT-DISPOSITION: FORM-DATA; NAME="image"; FILENAME="PHOTO.JPG"', PHOTO),
    "with names in small letters": ('content-disposition: form-data; name="image"; filename="x"', PHOTO),
    "with other headers": part(
        'name="image"; filename="x"', PHOTO, "Content-Length: 9", "X-Other: 1", "Content-ID: <a>", "MIME-Version: 1.0"
    ),
    "declared binary": part('name="image"; filename="x"', PHOTO, "Content-Transfer-Encoding: binary"),
    "declared 8bit": part('name="image"; filename="x"', PHOTO, "content-transfer-encoding: 8BIT"),
    "declared base64": part('name="image"; filename="x"', BASE64, "Content-Transfer-Encoding: base64"),
    "declared base64, in lines": part('name="image"; filename="x"', LINES, "content-transfer-encoding: BASE64"),
    "declared base64, without a file name": part('name="image"', LINES, "Content-Transfer-Encoding: base64"),
    "base64 as a field": part('name="image"', BASE64),
    "base64 as a field, in lines": part('name="image"', LINES + b"\r\n"),
    "base64 as a field with a type": part('name="image"', BASE64, "Content-Type: text/plain; charset=utf-8"),
    "base64 as a field, behind a byte order mark": part('name="image"', b"\xef\xbb\xbf" + BASE64),
    "a data URL as a field": part('name="image"', b"data:image/jpeg;base64," + BASE64),
    "base64 as a file": part('name="image"; filename="photo.b64"', LINES, "Content-Type: text/plain"),
    "under the name of BentoML's client": part('name="images"; filename="photo.jpg"'),
}

BOUNDARIES = {
    "----WebKitFormBoundary7MA4YWxkTrZu0gW": "----WebKitFormBoundary7MA4YWxkTrZu0gW",
    '"x"': "x",
    '"with space"': "with space",
    '"\'()+_,-./:=?"': "'()+_,-./:=?",
    '"a;b=c"': "a;b=c",
    "x; charset=utf-8": "x",
    "x;charset=utf-16": "x",
    "-": "-",
    "--": "--",
    f'"{"b" * 70}"': "b" * 70,
}

MALFORMED = {
    "no boundary": (form(part()), "multipart/form-data"),
    "an empty boundary": (form(part(), boundary=""), "multipart/form-data; boundary="),
    "another boundary": (form(part(), boundary="y"), "multipart/form-data; boundary=x"),
    "a boundary without end": (form(part()), "multipart/form-data; boundary=" + "x" * 5000),
    "nothing": (b"", "multipart/form-data; boundary=x"),
    "no end": (form(part()).removesuffix(b"--x--\r\n"), "multipart/form-data; boundary=x"),
    "cut off in a part": (form(part())[:5000], "multipart/form-data; boundary=x"),
    "cut off in its headers": (form(part())[:30], "multipart/form-data; boundary=x"),
    "line feeds alone": (form(part(data=b"text")).replace(b"\r\n", b"\n"), "multipart/form-data; boundary=x"),
    "no name": (form(part('filename="x.jpg"')), "multipart/form-data; boundary=x"),
    "no disposition": (form(("Content-Type: image/jpeg", PHOTO)), "multipart/form-data; boundary=x"),
    "no headers": (b"--x\r\n\r\n" + PHOTO + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"),
    "many headers": (form(part("name=image", PHOTO, *["X: y"] * 50)), "multipart/form-data; boundary=x"),
    "a large header": (form(part(f'name="image"; filename="{"x" * 50_000}"')), "multipart/form-data; boundary=x"),
    "many fields": (form(part(), *[part("name=a", b"")] * 500), "multipart/form-data; boundary=x"),
    "a preamble without end": (b"no boundary at all" * 10_000, "multipart/form-data; boundary=x"),
}
