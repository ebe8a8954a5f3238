"""Compares the throughput of int8 (made by `make quantize`) with that of the same model in the precision of `auto`.

`python -m benchmarks.quantized [--rounds 5] [--seconds 4]`. The model is a ResNet-18 whose last layer is trained, so
that it is sure of its answers: one with random weights only would be refused.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.turns import in_turns, median_ratio
from testing.checkpoints import save_resnet18
from testing.http_load import json_photos
from testing.photographs import crops, encoded
from testing.servers import Server, run_prepare

PHOTOGRAPHS = 100
WANTED = 1.4


def main() -> None:
    """Quantise, measure, and print the ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantized", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        models = folder / "prepared" / "models"
        save_resnet18(folder / "resnet-18", trained_logit=25.0)
        settings = {"CLASSIFIER_MODEL": str(folder / "resnet-18"), "CLASSIFIER_OFFLINE_MODEL": "deny"}
        prepared = run_prepare(models, **settings)
        assert prepared.returncode == 0, prepared.stderr
        _quantize(models, _photographs(folder / "photos"), settings)
        servers = {
            precision: Server(folder / precision, models, CLASSIFIER_PRECISION=precision, **settings)
            for precision in ("auto", "int8")
        }
        for server in servers.values():
            server.start()
            stack.callback(server.end)
        rates = in_turns(servers, json_photos(), arguments.rounds, arguments.seconds)
    print(f"int8 / auto: median ratio {median_ratio(rates, 'int8', 'auto'):.2f} (wanted: at least {WANTED})")


def _photographs(folder: Path) -> Path:
    folder.mkdir()
    for number, image in enumerate(crops(PHOTOGRAPHS)):
        (folder / f"{number:03}.jpg").write_bytes(encoded(image, "JPEG", quality=95))
    return folder


def _quantize(models: Path, images: Path, settings: dict[str, str]) -> None:
    environment = {**os.environ, "BENTOML_HOME": str(models.parent), "BENTOML_DO_NOT_TRACK": "True", **settings}
    subprocess.run([sys.executable, "-m", "model.quantize", str(images)], env=environment, check=True)


if __name__ == "__main__":
    main()
