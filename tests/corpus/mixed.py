"""Hostile files that are several formats at once, or none."""

from tests.corpus import bmp, gif, jpeg, png, tiff, webp
from tests.corpus.file import MOST_BYTES, REFUSED, CorpusFile
from tests.corpus.tiff_writer import LONG, SHORT

LARGE = (10_000, 5_000)


def tiff_with_exif_of_itself() -> bytes:
    """A TIFF file whose EXIF, GPS and interoperability directories are its own, with 60,000 tags in it."""
    directories = (34665, 34853, 40965)
    made = tiff.small({tag: (SHORT, [1]) for tag in range(45_000, 65_000)} | {tag: (LONG, [0]) for tag in directories})
    at = made[4:8]
    for tag in directories:
        entry = tag.to_bytes(2, "little") + b"\4\0\1\0\0\0"
        made = made.replace(entry + bytes(4), entry + at)
    return made


FILES = (
    CorpusFile("JPEG", "jpeg, then png", lambda: jpeg.flat(jpeg.BASELINE, LARGE) + png.flat(LARGE, 16, png.RGBA)),
    CorpusFile("JPEG", "jpeg before its own png", lambda: jpeg.SOI + b"\xff" + png.flat(LARGE, 16, png.RGBA), REFUSED),
    CorpusFile("PNG", "png, then jpeg", lambda: png.flat((64, 64), 8, png.GREY) + jpeg.flat(jpeg.BASELINE, LARGE) * 8),
    CorpusFile("GIF", "gif that goes on as bmp", lambda: b"GIF89a" + bmp.raw((1000, 1000), 24)),
    CorpusFile("BMP", "bmp that goes on as gif", lambda: b"BM" + gif.flat((1000, 1000)), REFUSED),
    CorpusFile(
        "WEBP", "webp of a jpeg", lambda: webp.riff(webp.chunk(b"VP8 ", jpeg.flat(jpeg.BASELINE, LARGE))), REFUSED
    ),
    CorpusFile("TIFF", "tiff within itself", tiff_with_exif_of_itself),
    CorpusFile("none", "10 MB of zeros", lambda: bytes(MOST_BYTES), REFUSED),
    CorpusFile("none", "10 MB of ones", lambda: b"\xff\xd8" + b"\xff" * (MOST_BYTES - 2), REFUSED),
)
