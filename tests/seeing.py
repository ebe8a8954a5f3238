"""What the service sees in a file: its pixels by the decoder alone, its first label by a server."""

import httpx
import numpy as np
from PIL import Image

from model.images.decode import decode
from model.recipe import Recipe
from testing.photographs import encoded
from tests.pairwise import Row
from tests.pictures import HEIGHT, WIDTH, Shares, as_image

MAX_PIXELS = 50_000_000
# As it is: no resizing stands between a file's pixels and what is seen of them.
RECIPE = Recipe(None, Image.Resampling.BILINEAR, HEIGHT, WIDTH, 1.0, (0.0,) * 3, (1.0,) * 3)


def named(row: Row) -> str:
    """A test's name for that row."""
    return "-".join(str(value) for value in row.values())


def assert_seen(file: bytes, wanted: Shares, most: float, on_average: float = 255) -> None:
    """Check that the file, decoded to the pixel and quickly, shows what is wanted, in shares of white.

    `most` and `on_average` are what pixels may be off, of 255.
    """
    for exact in (True, False):
        seen = decode(file, RECIPE, MAX_PIXELS, exact)
        assert (seen.width, seen.height) == (WIDTH, HEIGHT)
        off = np.abs(seen.pixels - wanted * 255)
        assert off.max() <= most
        assert off.mean() <= on_average


def assert_first_label(caller: httpx.Client, file: bytes, wanted: Shares) -> None:
    """Check that a server calls the file what it calls the picture in 8-bit RGB."""
    first = []
    for data in (encoded(as_image(np.broadcast_to(wanted, (*wanted.shape[:2], 3)))), file):
        answer = caller.post("/v2/classify?top_k=1", content=data, headers={"Content-Type": "application/octet-stream"})
        assert answer.status_code == 200, answer.text
        first.append(answer.json()["predictions"][0]["label"])
    assert first[0] == first[1]
