"""Generates pictures to compare answers on, with the properties of photographs that affect resizing and rounding.

They have objects of all sizes that cover each other ("dead leaves"), texture with the spectrum of natural images (1/f),
uneven light, noise, and the losses of JPEG. Some are mosaics of others, as large as a camera's images, so that decoders
scale them down. No photographs are shipped; an operator can give better ones with `--photographs`.

Source: Lee, Mumford and Huang, "Occlusion models for natural images", 2001.
"""

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZES = ((500, 375), (375, 500), (320, 240), (400, 400), (300, 400), (640, 360))
# One picture in 16 is a mosaic, of 4 x 4 pictures of 450 x 340 pixels each.
MOSAIC_EVERY, _ACROSS, _TILE = 16, 4, (450, 340)
_TEXTURE = 768
# The standard deviation of the noise, as in a sensor.
_GRAIN = 5


def make_pictures(number: int, seed: int = 0) -> Iterator[bytes]:
    """Yield that number of JPEG files; the same ones for the same seed."""
    random = np.random.default_rng(seed)
    texture, tiles = _texture(random), list[Image.Image]()
    for index in range(number):
        if tiles and index % MOSAIC_EVERY == 0:
            picture = _mosaic(random, tiles)
        else:
            picture = _picture(random, texture, SIZES[index % len(SIZES)])
            tiles = [*tiles[1 - MOSAIC_EVERY :], picture.resize(_TILE)]
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(random.integers(70, 96)))
        yield buffer.getvalue()


def _mosaic(random: np.random.Generator, tiles: list[Image.Image]) -> Image.Image:
    width, height = _TILE
    image = Image.new("RGB", (_ACROSS * width, _ACROSS * height))
    for place in range(_ACROSS**2):
        tile = tiles[int(random.integers(len(tiles)))]
        image.paste(tile, (place % _ACROSS * width, place // _ACROSS * height))
    return image


def _picture(random: np.random.Generator, texture: NDArray[np.int16], size: tuple[int, int]) -> Image.Image:
    width, height = size
    image = Image.new("RGB", size, _colour(random))
    draw = ImageDraw.Draw(image)
    for radius in _radii(random, max(size)):
        x, y = random.uniform(0, width), random.uniform(0, height)
        across, down = radius * random.uniform(0.4, 1.6), radius * random.uniform(0.4, 1.6)
        shape = draw.ellipse if random.random() < 0.7 else draw.rectangle
        shape((x - across, y - down, x + across, y + down), fill=_colour(random))
    top, left = random.integers(0, _TEXTURE - height), random.integers(0, _TEXTURE - width)
    grain = texture[top : top + height, left : left + width]
    # The light comes from one side.
    light = np.linspace(random.uniform(0.5, 1.2), random.uniform(0.5, 1.2), width)[np.newaxis, :, np.newaxis]
    values = np.asarray(image) * light.astype(np.float32) + grain * np.float32(random.uniform(0.2, 1.2))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _radii(random: np.random.Generator, longest: int) -> NDArray[np.float64]:
    """Return radii from large to small, so that small objects are drawn over large ones.

    Objects of each size cover the same total area.
    """
    smallest, largest = 8.0, longest / 3
    share = random.uniform(0, 1, 100)
    radii: NDArray[np.float64] = np.sort(1 / np.sqrt(share / smallest**2 + (1 - share) / largest**2))[::-1]
    return radii


def _colour(random: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in (random.normal(0, 25, 3) + random.uniform(20, 235)).clip(0, 255))
    return red, green, blue


def _texture(random: np.random.Generator) -> NDArray[np.int16]:
    """Make noise with amplitude 1/frequency, as in natural images: height x width x 3, standard deviation 25."""
    frequency = np.hypot(np.fft.fftfreq(_TEXTURE)[:, np.newaxis], np.fft.rfftfreq(_TEXTURE)[np.newaxis])
    frequency[0, 0] = np.inf
    layers = []
    for _ in range(4):
        spectrum = np.exp(2j * np.pi * random.random(frequency.shape)) / frequency
        layer = np.fft.irfft2(spectrum, (_TEXTURE, _TEXTURE))
        layers.append(layer / layer.std())
    # The three colours share most of their texture.
    texture = np.stack([23 * layers[0] + 9 * own for own in layers[1:]], -1)
    return (texture + random.normal(0, _GRAIN, texture.shape)).astype(np.int16)
