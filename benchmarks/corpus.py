"""Posts every image of other projects' test folders to a server, and holds its answers against the reference's own.

`make corpus`, or `python -m benchmarks.corpus [--keep FOLDER]`. The source packages of Pillow, scikit-image, imageio
and tifffile are fetched from PyPI into a folder that is deleted afterwards. Exit status 1 where an answer is not as it
should be.
"""

import argparse
import io
import json
import resource
import sys
import tarfile
import tempfile
import time
import urllib.request
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image, ImageOps

from model import reference, store
from model.formats import NAMES
from model.resize import fit
from model.store import CHECKPOINT, PreparedModel
from tests.servers import run_prepare, running

PACKAGES = ("pillow", "scikit-image", "imageio", "tifffile")
INDEX = "https://pypi.org/simple"
ENDINGS = frozenset(
    name
    for line in (
        "bmp dib rle gif jpg jpeg jpe jfif mpo png apng tif tiff webp ico psd tga ppm pgm pbm pcx j2k jp2",
        "jpx avif fits im msp sgi rgb xbm xpm dds eps fli flc icns cur dcx gbr pcd qoi svg wmf emf hdr exr npy cr2",
        "bif stk lsm zif",
    )
    for name in line.split()
)
# An image that would take more is left to the server alone.
MOST_PIXELS, MOST_BYTES = 50_000_000, 8 * 1024**3
MAY_BE = frozenset({200, 400, 413, 415, 422})
ANSWERS_WITHIN_S = 30.0
# As the contract has it, and half a unit of the last decimal.
WITHIN = 1e-4 + 5e-5
# Modes whose samples Pillow's own conversion to RGB cuts off: what they should be is held by test_image_kinds.py.
_WIDE = ("I", "F", "I;16", "I;16B", "I;16L", "La", "RGBa", "PA")


@dataclass(frozen=True)
class Seen:
    """One file: what was answered, and what is wrong with that, if anything is."""

    name: str
    kind: str
    status: int
    compared: bool
    wrong: str = ""


def fetch(folder: Path) -> None:
    """Fetch the source packages and unpack them there."""
    for package in PACKAGES:
        request = urllib.request.Request(
            f"{INDEX}/{package}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            files = json.load(answer)["files"]
        packed = [file for file in files if file["filename"].endswith(".tar.gz")]
        newest = max(packed, key=lambda file: str(file["upload-time"]))
        print(f"Fetching {newest['filename']}, {newest['size'] / 1e6:.0f} MB ...", file=sys.stderr, flush=True)
        with urllib.request.urlopen(newest["url"], timeout=300) as answer:
            packed_file = io.BytesIO(answer.read())
        with tarfile.open(fileobj=packed_file) as archive:
            archive.extractall(folder / package, filter="data")


def images_in(folder: Path) -> list[Path]:
    """The files there whose names say that they are images."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower()[1:] in ENDINGS)


class Reference:
    """The reference's own answers, in torch and float32."""

    def __init__(self, prepared: PreparedModel) -> None:
        self._recipe = prepared.recipe
        self._labels = prepared.manifest.labels
        self._classifier = reference.load_classifier(prepared.folder / CHECKPOINT, prepared.recipe, stand_in=True)

    def shares(self, image: Image.Image) -> dict[str, float]:
        """The probability of each label."""
        with torch.inference_mode():
            [found] = self._classifier(torch.from_numpy(fit(image, self._recipe)[None].copy())).numpy()
        return dict(zip(self._labels, found.tolist(), strict=True))


def as_pillow_reads(data: bytes) -> Image.Image | None:
    """The image as it is to be seen, by Pillow alone; None where Pillow can't read it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=NAMES)
            if image.width * image.height > MOST_PIXELS:
                return None
            image.load()
            upright: Image.Image = ImageOps.exif_transpose(image)
            if upright.mode in _WIDE or not upright.has_transparency_data:
                return upright
            rgba = upright.convert("RGBA")
            white = Image.new("RGB", rgba.size, "white")
            white.paste(rgba, mask=rgba)
            return white
    except (Exception, MemoryError):
        return None


def judged(path: Path, answer: httpx.Response, took_s: float, told: Reference) -> Seen:
    """Hold one answer against what Pillow and the reference make of the file."""
    data = path.read_bytes()
    image = as_pillow_reads(data)
    kind = f"{path.suffix.lower()[1:]} {image.mode if image else 'unread'}"
    seen = Seen(path.name, kind, answer.status_code, False)

    def wrong(why: str) -> Seen:
        return Seen(seen.name, kind, seen.status, False, why)

    if answer.status_code not in MAY_BE:
        return wrong(answer.text[:300])
    if took_s > ANSWERS_WITHIN_S:
        return wrong(f"it took {took_s:.0f} s")
    if answer.status_code != 200:
        said = str(answer.json()["detail"])
        is_named = "can't be read" in said or "beyond" in said or answer.status_code != 400
        return seen if image is None or is_named else wrong(said)
    if image is None or image.mode in _WIDE:
        return seen
    shares = told.shares(image if image.mode == "L" else image.convert("L" if image.mode == "1" else "RGB"))
    worst = max(abs(one["confidence"] - shares[one["label"]]) for one in answer.json()["predictions"])
    return wrong(f"{worst:.4f} off the reference") if worst > WITHIN else Seen(path.name, kind, 200, True)


def main() -> int:
    """Print a row for each kind of file and status, and whatever is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="unpack here, and use what is there already")
    keep = parser.parse_args().keep
    Image.MAX_IMAGE_PIXELS = None
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = folder / "prepared" / "models"
        assert run_prepare(models, CLASSIFIER_OFFLINE_MODEL="only").returncode == 0
        [where] = models.glob("*/*-*")
        prepared = store.open_folder("stand-in:it", where)
        unpacked = keep or folder / "packages"
        if not unpacked.exists():
            fetch(unpacked)
        files = images_in(unpacked)
        with running(folder / "it", models, CLASSIFIER_PRECISION="f32") as server:
            key = server.create_key("corpus@example.org", "--limit", "1000000/day")["key"]
            with server.client(key) as client:
                return report(list(posted(client, files, Reference(prepared))))


def posted(client: httpx.Client, files: list[Path], told: Reference) -> Iterator[Seen]:
    """Post each file."""
    for number, path in enumerate(files):
        began = time.monotonic()
        headers = {"Content-Type": "application/octet-stream"}
        answer = client.post("/v2/classify", content=path.read_bytes(), headers=headers, timeout=2 * ANSWERS_WITHIN_S)
        yield judged(path, answer, time.monotonic() - began, told)
        if number % 100 == 99:
            print(f"{number + 1} of {len(files)} files ...", file=sys.stderr, flush=True)


def report(seen: list[Seen]) -> int:
    """Print the counts; the exit status."""
    rows: Counter[Any] = Counter((one.kind, one.status) for one in seen)
    for (kind, status), count in sorted(rows.items()):
        print(f"{kind:16} {status} {count:5}")
    compared = sum(one.compared for one in seen)
    wrong = [one for one in seen if one.wrong]
    for one in wrong:
        print(f"WRONG {one.name} ({one.kind}): {one.status} {one.wrong}")
    statuses = Counter(one.status for one in seen)
    told = f"{compared} held against the reference, {len(wrong)} wrong"
    print(f"{len(seen)} files, {dict(sorted(statuses.items()))}, {told}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    np.seterr(all="ignore")
    sys.exit(main())
