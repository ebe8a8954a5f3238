"""One picture, and what files of other colours and depths make of it: what is written, and what is to be seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import skimage.color
from numpy.typing import NDArray
from PIL import Image

from testing.photographs import COFFEE

Shares = NDArray[np.float64]
Samples = NDArray[Any]
TagValues = dict[int, tuple[int, Sequence[float]]]
# No multiple of 8: rows and tiles are padded.
WIDTH, HEIGHT = 61, 45

_PHOTO = Image.open(COFFEE).convert("RGB")
# How red, green and blue each pixel is, 0 to 1: height x width x 3.
SMALL: Shares = np.asarray(_PHOTO.resize((WIDTH, HEIGHT))) / 255
LARGE: Shares = np.asarray(_PHOTO) / 255
ORIENTATION = 0x0112
ORIENTATIONS = (1, 2, 3, 4, 5, 6, 7, 8)


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        name: of it.
        bits, photometric, sample_format: as TIFF calls them.
        samples: of a picture; height x width x samples of a pixel.
        seen: what is to be seen of a picture, in shares of white.
        tags: further ones of TIFF.
        allowed: how far a pixel may be off, of 255.
    """

    name: str
    bits: int
    photometric: int
    samples: Callable[[Shares], Samples]
    seen: Callable[[Shares], Shares]
    sample_format: int = 1
    tags: TagValues = field(default_factory=dict)
    allowed: float = 1.5

    def __str__(self) -> str:
        return self.name


def as_image(shares: Shares, mode: str = "RGB") -> Image.Image:
    """The picture in 8 bits."""
    return Image.fromarray((shares * 255).round().astype(np.uint8)).convert(mode)


def exif(orientation: int) -> bytes:
    """EXIF data that say which way up the picture is."""
    made = Image.Exif()
    made[ORIENTATION] = orientation
    return made.tobytes()


def whole(shares: Shares, bits: int, kind: str = "u") -> Samples:
    """Samples of so many bits, white the greatest."""
    greatest = 2 ** (bits - (kind == "i")) - 1
    return (shares * greatest).round().astype(f"{kind}{ {12: 2}.get(bits, max(1, bits // 8)) }")


def grey(picture: Shares) -> Shares:
    """How bright each pixel is, as Pillow has it: height x width x 1."""
    as_bytes = as_image(picture, "L")
    return np.asarray(as_bytes)[..., None] / 255


def opacity(picture: Shares) -> Shares:
    """From opaque at the left to transparent at the right: height x width x 1."""
    height, width = picture.shape[:2]
    return np.broadcast_to(np.linspace(1, 0, width)[None, :, None], (height, width, 1)).copy()


def on_white(shares: Shares) -> Shares:
    """What is seen of it where it is laid on white by `opacity`."""
    alpha = opacity(shares)
    return shares * alpha + 1 - alpha


def stored(picture: Samples, orientation: int) -> Samples:
    """The rows and columns of a file of that orientation."""
    # From the fifth on, rows and columns change places, before either is mirrored.
    across, down = orientation in (2, 3, 7, 8), orientation in (3, 4, 6, 7)
    turned = picture.swapaxes(0, 1) if orientation >= 5 else picture
    return np.ascontiguousarray(turned[:: -1 if down else 1, :: -1 if across else 1])


def coarse(shares: Shares, bits: int) -> Shares:
    """What is left of it with so many bits."""
    most = 2 ** min(bits, 32) - 1
    return (shares * most).round() / most


def greys() -> list[Content]:
    """Grey TIFF pictures of every depth and kind of sample, of either photometric."""
    kinds = {"u": (1, 2, 4, 8, 12, 16, 32), "i": (8, 16, 32), "f": (32, 64)}
    return [_grey(kind, bits, zero) for kind, all_bits in kinds.items() for bits in all_bits for zero in (0, 1)]


def _grey(letter: str, bits: int, photometric: int) -> Content:
    name, sample_format = {"u": ("unsigned", 1), "i": ("signed", 2), "f": ("floating", 3)}[letter]

    def samples(picture: Shares) -> Samples:
        shares = grey(picture) if photometric else 1 - grey(picture)
        return shares.astype(f"f{bits // 8}") if letter == "f" else whole(shares, bits, letter)

    def seen(picture: Shares) -> Shares:
        return coarse(grey(picture), bits - (letter == "i"))

    which = "black" if photometric else "white"
    return Content(f"{which}-is-zero-{bits}-bit-{name}", bits, photometric, samples, seen, sample_format)


def coloured() -> list[Content]:
    """TIFF pictures of colours, of palettes, and of what is transparent."""
    return [
        *(_rgb(bits) for bits in (8, 16)),
        *(_with_alpha("RGBA", bits, extra) for bits in (8, 16) for extra in (1, 2)),
        *(_with_alpha("grey-alpha", bits, extra) for bits in (8, 16) for extra in (1, 2)),
        *(_palette(bits) for bits in (1, 2, 4, 8)),
        *(_cmyk(bits) for bits in (8, 16)),
        Content("YCbCr-8-bit", 8, 6, _ycbcr, lambda it: it, tags={530: (3, [1, 1])}, allowed=3),
        Content("Lab-8-bit", 8, 8, _lab, lambda it: it, allowed=10),
    ]


def _rgb(bits: int) -> Content:
    return Content(f"RGB-{bits}-bit", bits, 2, lambda it: whole(it, bits), lambda it: it)


def _with_alpha(name: str, bits: int, extra: int) -> Content:
    """Of colours that are multiplied by their alpha (extra 1), or not (2)."""

    def samples(picture: Shares) -> Samples:
        shares, alpha = (picture if name == "RGBA" else grey(picture)), opacity(picture)
        return whole(np.concatenate([shares * alpha if extra == 1 else shares, alpha], -1), bits)

    def seen(picture: Shares) -> Shares:
        return on_white(picture if name == "RGBA" else grey(picture))

    how, photometric = ("multiplied" if extra == 1 else "separate"), (2 if name == "RGBA" else 1)
    # (Pillow divides colours of 16 bits by their alpha, and rounds.)
    allowed = 3 if (name, how, bits) == ("RGBA", "multiplied", 16) else 1.5
    tags: TagValues = {338: (3, [extra])}
    return Content(f"{name}-{how}-{bits}-bit", bits, photometric, samples, seen, tags=tags, allowed=allowed)


def palette_of(picture: Shares, bits: int) -> tuple[Samples, NDArray[np.uint8]]:
    """The picture in so many colours: an index for each pixel, and 2 ** bits colours of 3 bytes."""
    as_bytes = as_image(picture).quantize(2**bits, dither=Image.Dither.NONE)
    colours = np.zeros((2**bits, 3), np.uint8)
    told = np.array(as_bytes.getpalette(), np.uint8).reshape(-1, 3)[: 2**bits]
    colours[: len(told)] = told
    return np.asarray(as_bytes)[..., None], colours


def _palette(bits: int) -> Content:
    def seen(picture: Shares) -> Shares:
        places, colours = palette_of(picture, bits)
        return colours[places[..., 0]] / 255

    return Content(f"palette-{bits}-bit", bits, 3, lambda it: palette_of(it, bits)[0], seen)


def colour_map(picture: Shares, bits: int) -> TagValues:
    """TIFF's ColorMap of `palette_of`: all reds, greens and blues, of 16 bits."""
    return {320: (3, (palette_of(picture, bits)[1].T.ravel().astype(int) * 257).tolist())}


def _cmyk(bits: int) -> Content:
    def samples(picture: Shares) -> Samples:
        return whole(np.concatenate([1 - picture, np.zeros((*picture.shape[:2], 1))], -1), bits)

    return Content(f"CMYK-{bits}-bit", bits, 5, samples, lambda it: it)


def _ycbcr(picture: Shares) -> Samples:
    return np.asarray(as_image(picture, "YCbCr"))


def _lab(picture: Shares) -> Samples:
    lab = skimage.color.rgb2lab(picture)
    light = (lab[..., :1] * 2.55).round().astype(np.uint8)
    return np.concatenate([light, lab[..., 1:].round().astype(np.int8).view(np.uint8)], -1)


# By name.
CONTENTS = {content.name: content for content in (*greys(), *coloured())}
