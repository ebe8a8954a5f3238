"""The image formats and their finer points: what a caller's file looks like to the model."""

import io
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from testing import server_meter
from testing.photographs import COFFEE, encoded
from testing.servers import Server
from tests.answers import assert_problem

PHOTO = Image.open(COFFEE).convert("RGB")
GREY = PHOTO.convert("L")
# The same photo in PNG, as colours and as greys, is what others are compared with.
ESPRESSO = "espresso"


def seen(caller: httpx.Client, data: bytes) -> dict[str, Any]:
    answer = caller.post("/v2/classify", content=data, headers={"Content-Type": "application/octet-stream"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def shares(body: dict[str, Any]) -> dict[str, float]:
    return {one["label"]: one["confidence"] for one in body["predictions"]}


def assert_alike(one: dict[str, Any], other: dict[str, Any], within: float = 0.03) -> None:
    mine, others = shares(one), shares(other)
    assert max(mine, key=lambda label: mine[label]) == max(others, key=lambda label: others[label])
    for label in mine.keys() & others.keys():
        assert mine[label] == pytest.approx(others[label], abs=within)


def sixteen_bit_grey() -> bytes:
    return encoded(Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257))


def floating_grey() -> bytes:
    return encoded(Image.fromarray(np.asarray(GREY).astype(np.float32) / 255), "TIFF")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        pytest.param(lambda: encoded(PHOTO, "JPEG", quality=95), "JPEG", id="jpeg"),
        pytest.param(lambda: encoded(PHOTO, "JPEG", quality=95, progressive=True), "JPEG", id="progressive-jpeg"),
        pytest.param(lambda: encoded(PHOTO.convert("CMYK"), "JPEG", quality=95), "JPEG", id="cmyk-jpeg"),
        pytest.param(
            lambda: encoded(PHOTO, "MPO", quality=95, save_all=True, append_images=[GREY.convert("RGB")]),
            "JPEG",
            id="jpeg-of-several-pictures",
        ),
        pytest.param(lambda: encoded(PHOTO.quantize(256)), "PNG", id="palette-png"),
        pytest.param(lambda: encoded(PHOTO.convert("RGBA")), "PNG", id="opaque-rgba-png"),
        pytest.param(lambda: encoded(PHOTO, "WEBP", quality=95), "WEBP", id="webp"),
        pytest.param(lambda: encoded(PHOTO, "WEBP", lossless=True), "WEBP", id="lossless-webp"),
        pytest.param(
            lambda: encoded(PHOTO, "GIF", save_all=True, append_images=[Image.new("RGB", PHOTO.size)]),
            "GIF",
            id="first-frame-of-gif",
        ),
        pytest.param(
            lambda: encoded(PHOTO, "PNG", save_all=True, append_images=[Image.new("RGB", PHOTO.size)]),
            "PNG",
            id="first-frame-of-png",
        ),
        pytest.param(
            lambda: encoded(PHOTO, "WEBP", save_all=True, append_images=[Image.new("RGB", PHOTO.size)]),
            "WEBP",
            id="first-frame-of-webp",
        ),
        pytest.param(
            lambda: encoded(PHOTO, "TIFF", save_all=True, append_images=[Image.new("RGB", PHOTO.size)]),
            "TIFF",
            id="first-page-of-tiff",
        ),
        pytest.param(lambda: encoded(PHOTO, "BMP"), "BMP", id="bmp"),
        pytest.param(lambda: encoded(PHOTO, "TIFF", compression="tiff_lzw"), "TIFF", id="lzw-tiff"),
        pytest.param(lambda: encoded(PHOTO.convert("CMYK"), "TIFF"), "TIFF", id="cmyk-tiff"),
    ],
)
def test_colours_survive_every_format(caller: httpx.Client, make: Callable[[], bytes], kind: str) -> None:
    body = seen(caller, make())
    assert body["image"] == {"width": 600, "height": 400, "format": kind}
    # GIF, palettes and JPEG lose a little; a wrong picture or wrong colours would lose more.
    assert shares(body)[ESPRESSO] > 0.8


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(sixteen_bit_grey, id="16-bit-png"),
        pytest.param(floating_grey, id="floating-point-tiff"),
        pytest.param(lambda: encoded(GREY.convert("LA")), id="grey-with-alpha"),
        pytest.param(lambda: encoded(GREY, "TIFF"), id="grey-tiff"),
    ],
)
def test_grey_is_grey_at_any_depth(caller: httpx.Client, make: Callable[[], bytes]) -> None:
    assert_alike(seen(caller, make()), seen(caller, encoded(GREY)))


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_applied(caller: httpx.Client, orientation: int) -> None:
    """Turned as a camera held that way would store it, the photo is seen upright again."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = encoded(PHOTO.transpose(undo[orientation]), "PNG", exif=exif)
    body, plain = seen(caller, turned), seen(caller, encoded(PHOTO))
    assert body["image"] == plain["image"]
    assert body["predictions"] == plain["predictions"]


def test_damaged_exif_spoils_no_image(caller: httpx.Client) -> None:
    data = encoded(PHOTO, "JPEG", quality=95, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff" + b"\xff" * 40)
    assert shares(seen(caller, data))[ESPRESSO] > 0.8


def test_alpha_is_laid_on_white(caller: httpx.Client) -> None:
    hidden = PHOTO.copy()
    hidden.putalpha(Image.new("L", PHOTO.size, 0))
    white = seen(caller, encoded(Image.new("RGB", PHOTO.size, "white")))
    assert seen(caller, encoded(hidden))["predictions"] == white["predictions"]
    keyed = Image.new("P", PHOTO.size, 7)
    assert seen(caller, encoded(keyed, "GIF", transparency=7))["predictions"] == white["predictions"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_truncated_file_is_400(caller: httpx.Client, kind: str, share: float) -> None:
    whole = encoded(PHOTO, kind)
    cut = whole[: int(len(whole) * share)]
    answer = caller.post("/v2/classify", content=cut, headers={"Content-Type": "image/png"})
    assert assert_problem(answer, 400)["field"] == "image"


@pytest.mark.parametrize(
    ("kind", "size", "options"),
    [("PNG", (8000, 8000), {}), ("GIF", (8000, 8000), {}), ("TIFF", (8000, 8000), {"compression": "tiff_lzw"})],
)
def test_a_bomb_is_refused_before_it_is_decoded(
    caller: httpx.Client, kind: str, size: tuple[int, int], options: dict[str, Any]
) -> None:
    bomb = encoded(Image.new("L", size), kind, **options)
    answer = caller.post("/v2/classify", content=bomb, headers={"Content-Type": "image/png"})
    assert "8000 x 8000" in assert_problem(answer, 422)["detail"]


def test_a_jpeg_of_very_many_scans_is_refused(server: Server, caller: httpx.Client) -> None:
    """Each scan of a progressive JPEG goes over all pixels again: a small file could take minutes."""
    # Small enough for a thread: a larger one may take a busy machine longer than the process for it is given.
    photo = encoded(Image.new("RGB", (2000, 2000), "red"), "JPEG", progressive=True)
    last_scan = photo[photo.rindex(b"\xff\xda") : -2]
    bomb = photo[:-2] + last_scan * 300 + photo[-2:]

    def cpu_s_of(file: bytes) -> tuple[httpx.Response, float]:
        before = server_meter.cpu_s(server.pid)
        answer = caller.post("/v2/classify", content=file, headers={"Content-Type": "image/jpeg"})
        return answer, server_meter.cpu_s(server.pid) - before

    first = cpu_s_of(photo)[0]
    assert first.status_code == 200, first.text
    answer, refused_s = cpu_s_of(bomb)
    assert "scans" in assert_problem(answer, 422)["detail"]
    assert refused_s < 2 * max(cpu_s_of(photo)[1] for _ in range(3))


def test_a_decoder_is_asked_for_known_formats_only(caller: httpx.Client) -> None:
    for kind in ("PPM", "ICO", "TGA", "PCX", "JPEG2000"):
        buffer = io.BytesIO()
        PHOTO.resize((64, 64)).save(buffer, kind)
        answer = caller.post("/v2/classify", content=buffer.getvalue(), headers={"Content-Type": "image/png"})
        assert "JPEG, PNG" in assert_problem(answer, 400)["detail"]
