"""PNG files with chunks beside the image: however many, long or damaged they are, the pixels are the same."""

import itertools
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from model.errors import NotAnImage
from model.images.decode import decode
from model.images.formats import read_header
from tests.image_writers import PNG_SIGNATURE, chunk, png
from tests.pictures import SMALL, Samples, exif, palette_of, stored, whole
from tests.seeing import MAX_PIXELS, RECIPE, assert_seen

GREY, TRUE_COLOUR, PALETTE, ALPHA = 0, 2, 3, 6
BODY_BYTES = 10 * 2**20
# What a body may hold beside the image.
_ROOM = BODY_BYTES - 20_000
MOST_CPU_S, MOST_HEADER_S, TRIES = 1.0, 0.05, 2
_BOMB = zlib.compress(bytes(3_000_000))
_EMPTY = chunk(b"prVt", b"")


def damaged(whole_chunk: bytes) -> bytes:
    """The chunk with a wrong checksum."""
    return whole_chunk[:-1] + bytes([whole_chunk[-1] ^ 0xFF])


BESIDE = {
    "a-profile": chunk(b"iCCP", b"a profile\0\0" + _BOMB),
    "a-profile-that-is-none": chunk(b"iCCP", b"\xff" * 5000),
    "a-packed-text": chunk(b"zTXt", b"Comment\0\0" + _BOMB),
    "an-international-text": chunk(b"iTXt", b"Comment\0\1\0\0\0" + _BOMB),
    "a-text": chunk(b"tEXt", b"Comment\0" + b"x" * 2_000_000),
    "texts": chunk(b"tEXt", b"Comment\0words") * 6000,
    "EXIF": chunk(b"eXIf", b"MM\0*" + b"\xff" * 2_000_000),
    "an-empty-EXIF": chunk(b"eXIf", b""),
    "raw-profiles": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\n" * 65536)) * 6000,
    "palettes-to-choose-from": chunk(b"sPLT", b"a palette\0\x08" + bytes(60)) * 100,
    "a-size-in-metres": chunk(b"pHYs", b""),
    "frames": chunk(b"acTL", bytes(3)) + chunk(b"fcTL", bytes(26)) * 5000,
    "a-name-of-no-letters": chunk(b"\0\0\0\0", b"what is this?"),
    "unknown-ones": chunk(b"prVt", b"\0") * 6000,
}
# What fills a body.
FILLING = {
    "unknown-ones": _EMPTY * (_ROOM // len(_EMPTY)),
    "texts": chunk(b"tEXt", b"") * (_ROOM // len(_EMPTY)),
    "damaged-transparencies": damaged(chunk(b"tRNS", bytes(6))) * (_ROOM // 18),
    "bombs": BESIDE["a-packed-text"] * (_ROOM // len(BESIDE["a-packed-text"])),
    "a-long-one": chunk(b"prVt", bytes(_ROOM)),
    "long-EXIF": damaged(chunk(b"eXIf", bytes(_ROOM))),
}
PLACES = ("before", "amid", "after")


@dataclass(frozen=True)
class Around:
    """Where further chunks stand in a file."""

    before: bytes = b""
    amid: bytes = b""
    after: bytes = b""


def file_with(around: Around, samples: Samples | None = None, colours: int = TRUE_COLOUR) -> bytes:
    """The picture in a PNG file whose image data come in two chunks."""
    samples = whole(SMALL, 8) if samples is None else samples
    plain = png(samples, 8, colours)
    at = plain.index(b"IDAT") - 4
    packed = plain[at + 8 : -16]
    first, rest = chunk(b"IDAT", packed[:500]), chunk(b"IDAT", packed[500:])
    return plain[:at] + around.before + first + around.amid + rest + around.after + plain[-12:]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", ["alone", "among-5000-others"])
@pytest.mark.parametrize("is_sound", [True, False], ids=["sound", "damaged"])
@pytest.mark.parametrize("beside", BESIDE)
def test_what_stands_beside_the_image_spoils_no_pixel(beside: str, is_sound: bool, number: str, place: str) -> None:
    chunks = BESIDE[beside] if is_sound else damaged(BESIDE[beside])
    if number != "alone":
        chunks = chunk(b"prVt", b"\0") * 2500 + chunks + chunk(b"prVt", b"\0") * 2500
    assert_seen(file_with(Around(**{place: chunks})), SMALL, 1)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("beside", FILLING)
def test_as_much_as_a_body_may_hold_beside_the_image_has_its_bounds(beside: str, place: str) -> None:
    file = file_with(Around(**{place: FILLING[beside]}))
    assert len(file) <= BODY_BYTES
    assert cpu_s(lambda: assert_near(decode(file, RECIPE, MAX_PIXELS).pixels)) < MOST_CPU_S
    # The event loop's process looks at so much alone, and leaves the rest to one that can be stopped.
    assert cpu_s(lambda: read_header(file, MAX_PIXELS)) < MOST_HEADER_S


def assert_near(pixels: Samples) -> None:
    assert np.abs(pixels - SMALL * 255).max() <= 1


def cpu_s(work: Callable[[], object]) -> float:
    """The processor time that it takes, at best: what else this machine does makes it longer."""
    times = []
    for _ in range(TRIES):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", [0, 100, 5000])
def test_it_is_upright_however_many_chunks_stand_before_its_orientation(number: int, place: str) -> None:
    chunks = _EMPTY * number + chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0"))
    assert_seen(file_with(Around(**{place: chunks}), stored(whole(SMALL, 8), 6)), SMALL, 1)


# What a tRNS chunk may not be beside each type of colours, and a palette that is a mere proposal.
PASSED_OVER = {
    "damaged": damaged(chunk(b"tRNS", bytes(6))),
    "empty": chunk(b"tRNS", b""),
    "too-short": chunk(b"tRNS", bytes(5)),
    "too-long": chunk(b"tRNS", bytes(300)),
    "a-proposed-palette": damaged(chunk(b"PLTE", bytes(7))),
}


@pytest.mark.parametrize("said", PASSED_OVER)
@pytest.mark.parametrize("colours", [GREY, TRUE_COLOUR, ALPHA])
def test_what_is_transparent_is_passed_over_where_it_is_damaged(colours: int, said: str) -> None:
    seen = SMALL.mean(-1, keepdims=True) if colours == GREY else SMALL
    opaque = np.ones((*SMALL.shape[:2], 1))
    samples = whole(np.concatenate([seen, opaque], -1) if colours == ALPHA else seen, 8)
    assert_seen(file_with(Around(PASSED_OVER[said]), samples, colours), seen, 1)


@pytest.mark.parametrize("number", [0, 5000])
def test_a_palette_and_its_transparent_colours_are_found_among_many_chunks(number: int) -> None:
    places, colours = palette_of(SMALL, 8)
    hidden = int(np.median(places))
    alphas = bytes(0 if place == hidden else 255 for place in range(256))
    others = chunk(b"prVt", b"\0") * number
    before = others + chunk(b"PLTE", colours.tobytes()) + others + chunk(b"tRNS", alphas) + others
    # Of several, the first counts.
    before += chunk(b"PLTE", bytes(768)) + chunk(b"tRNS", bytes(256))
    wanted = np.where(places == hidden, 1, colours[places[..., 0]] / 255)
    assert_seen(file_with(Around(before), places, PALETTE), wanted, 1)


@pytest.mark.parametrize(("number", "left"), itertools.product([0, 5000], [0, 40, 400]))
def test_an_image_that_is_cut_off_is_refused_however_many_chunks_it_has(number: int, left: int) -> None:
    file = file_with(Around(before=_EMPTY * number))
    cut = file[: file.rindex(b"IDAT") + left]
    with pytest.raises(NotAnImage):
        decode(cut, RECIPE, MAX_PIXELS)
    with pytest.raises(NotAnImage):
        decode(PNG_SIGNATURE + file[33:], RECIPE, MAX_PIXELS)


def test_the_end_of_the_file_may_be_missing_where_the_image_is_whole() -> None:
    file = file_with(Around(after=chunk(b"tEXt", b"Comment\0words")))
    for cut in (12, 20, 33):
        assert_seen(file[:-cut], SMALL, 1)
