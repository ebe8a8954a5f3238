"""Quantises a model to int8 with an operator's photographs: `python -m model.quantize FOLDER` (`make quantize`).

Half of the photographs calibrate it: NNCF keeps layers in float until the answers on that half are close enough. The
other half decides: where the int8 model is not accurate enough on it (`REQUIRED`), nothing is stored.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings, SettingsError, load_settings
from model import choices, environment, store
from model.errors import ImageError, ModelError, QuantizationRefused
from model.images.decode import decode
from model.openvino_engine import OpenVinoEngine
from model.photographs import find_photographs
from model.prepared import find_prepared
from model.store import GRAPH, GRAPH_INT8, PreparedModel
from model.tune.fidelity import REQUIRED, Report

FEWEST_IMAGES, MOST_IMAGES = 40, 1000
BATCH = 8
# The allowed mean differences of confidences on the calibrating half, in the order of the attempts: the first gives the
# fastest model, the last the most accurate.
ALLOWED_DIFFERENCES = (0.005, 0.002, 0.001, 0.0005)


def quantize(settings: Settings, folder: Path) -> PreparedModel:
    """Store an int8 version of the model that the settings name.

    Args:
        settings: name the model.
        folder: has the photographs, also in subfolders.

    Returns:
        the new prepared model, which has the int8 graph besides the others.

    Raises:
        QuantizationRefused: there are too few images, or int8 would be too inaccurate.
        ModelError: there is no prepared model.
    """
    prepared = find_prepared(settings)
    if prepared is None:
        raise ModelError("There is no prepared model to quantise; run 'make model' first.")
    images = _read(folder, prepared, settings.max_image_pixels)
    exact = OpenVinoEngine(prepared.folder / GRAPH, "f32")
    with tempfile.TemporaryDirectory(prefix="classifier-") as name:
        graph = Path(name) / "int8.xml"
        report, allowed = _quantise_accurately(prepared, exact, images, graph)
        held_out = images[1::2]
        quick = _read(folder, prepared, settings.max_image_pixels, exact=False)[1::2]
        resized = Report.of(_answers(exact, held_out), _answers(OpenVinoEngine(graph, "int8"), quick))
        _say(f"With the quick resize: {resized}.")
        as_auto = settings.model_copy(update={"precision": "auto"})
        usual = OpenVinoEngine(prepared.folder / GRAPH, choices.current(prepared, as_auto).configuration.precision)
        faster = _speed(OpenVinoEngine(graph, "int8"), images) / _speed(usual, images)
        _say(f"int8 is {faster:.2f} times as fast as {usual.precision}.")
        details = {"quick_resize": asdict(resized), "mean_allowed": allowed, "times_as_fast": round(faster, 2)}
        return _store(prepared, graph, {**asdict(report), **details})


def _quantise_accurately(
    prepared: PreparedModel, exact: OpenVinoEngine, images: NDArray[np.uint8], graph: Path
) -> tuple[Report, float]:
    """Write the first int8 graph that is accurate enough on every other image, which it is calibrated with.

    Args:
        prepared: the model.
        exact: the engine to compare with.
        images: of them, every other one calibrates the graph, and the rest judge it.
        graph: the file to write.

    Returns:
        the comparison on the rest, and the mean difference of confidences that was allowed.

    Raises:
        QuantizationRefused: no graph is accurate enough.
    """
    calibrating, held_out = images[::2], images[1::2]
    for allowed in ALLOWED_DIFFERENCES:
        _say(f"Quantising {prepared.tag}, mean difference of confidences at most {allowed:g} ...")
        _quantise_graph(prepared, calibrating, allowed, graph)
        report = _compare(exact, graph, calibrating)
        _say(f"On the calibrating half: {report}.")
        if report.meets():
            report = _compare(exact, graph, held_out)
            _say(f"On the half it has not seen: {report}.")
            if report.meets():
                return report, allowed
            break
    raise QuantizationRefused(
        f"int8 would be too inaccurate ({report}; wanted: {REQUIRED.same_top1:.0%}, {REQUIRED.within:g}, "
        f"{REQUIRED.largest:g}), so it is not stored. Give more photographs of the kind you serve, or stay "
        "with CLASSIFIER_PRECISION=auto."
    )


def _read(folder: Path, prepared: PreparedModel, max_pixels: int, exact: bool = True) -> NDArray[np.uint8]:
    if not folder.is_dir():
        raise QuantizationRefused(f"{folder} is no folder; name one with photographs, as IMAGES=photos.")
    paths = find_photographs(folder, MOST_IMAGES)
    read, unreadable = [], 0
    for number, path in enumerate(paths, 1):
        try:
            read.append(decode(path.read_bytes(), prepared.recipe, max_pixels, exact).pixels)
        except (ImageError, OSError):
            unreadable += 1
        if number % 100 == 0 or number == len(paths):
            _say(f"Read {number} of {len(paths)} images ({unreadable} can't be read).")
    if len(read) < FEWEST_IMAGES:
        raise QuantizationRefused(f"{len(read)} images are too few; give at least {FEWEST_IMAGES}, better 300.")
    # A random order that does not depend on the names, the same every time.
    return np.stack(read)[np.random.default_rng(0).permutation(len(read))]


def _quantise_graph(prepared: PreparedModel, images: NDArray[np.uint8], allowed: float, path: Path) -> None:
    # Without this package, neither NNCF nor OpenVINO sends usage data to its maker.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import nncf
    import openvino

    graph = openvino.Core().read_model(prepared.folder / GRAPH)
    theirs = _answers(OpenVinoEngine(prepared.folder / GRAPH, "f32"), images)

    def agreement(compiled: Any, numbers: Any) -> tuple[float, list[float]]:
        each = []
        for number in map(int, numbers):
            ours = np.array(compiled.infer_new_request({0: images[number : number + 1]})[0])[0]
            each.append(1.0 - float(np.abs(ours - theirs[number]).max()))
        return float(np.mean(each)), each

    quantised = nncf.quantize_with_accuracy_control(
        graph,
        calibration_dataset=nncf.Dataset(range(len(images)), lambda number: images[number : number + 1]),
        validation_dataset=nncf.Dataset(range(len(images))),
        validation_fn=agreement,
        max_drop=allowed,
        drop_type=nncf.DropType.ABSOLUTE,
        subset_size=min(300, len(images)),
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(ranking_subset_size=60),
    )
    openvino.save_model(quantised, path, compress_to_fp16=False)


def _compare(exact: OpenVinoEngine, graph: Path, images: NDArray[np.uint8]) -> Report:
    return Report.of(_answers(exact, images), _answers(OpenVinoEngine(graph, "int8"), images))


def _answers(engine: OpenVinoEngine, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([engine.predict(images[first : first + BATCH]) for first in range(0, len(images), BATCH)])


def _speed(engine: OpenVinoEngine, images: NDArray[np.uint8], seconds: float = 1.0) -> float:
    engine.predict(images[:BATCH])
    started, done = time.perf_counter(), 0
    while time.perf_counter() < started + seconds:
        engine.predict(images[:BATCH])
        done += BATCH
    return done / (time.perf_counter() - started)


def _store(prepared: PreparedModel, graph: Path, report: dict[str, Any]) -> PreparedModel:
    """Store a new version of the prepared model, with the int8 graph besides the others."""
    with tempfile.TemporaryDirectory(prefix="classifier-") as name:
        folder = Path(name) / "model"
        shutil.copytree(prepared.folder, folder, ignore=shutil.ignore_patterns(choices.PATTERN))
        for ending in (".xml", ".bin"):
            shutil.copyfile(graph.with_suffix(ending), (folder / GRAPH_INT8).with_suffix(ending))
        prepared.manifest.fidelity["int8"] = report
        return store.save(prepared.manifest, folder)


def _say(line: str) -> None:
    print(f"[quantize] {line}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns 0 where an int8 model was stored, else 1, after one line with the reason."""
    parser = argparse.ArgumentParser(prog="python -m model.quantize", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the photographs lie")
    arguments = sys.argv[1:] if arguments is None else arguments
    folder = parser.parse_args(arguments).folder
    warnings.filterwarnings("ignore")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        if not environment.is_complete("nncf"):
            return environment.run_in_prepare_environment("model.quantize", arguments, "quantize")
        stored = quantize(load_settings(), folder)
    except (ModelError, SettingsError) as error:
        _say(f"ERROR: {error}")
        return 1
    _say(f"Stored {stored.tag}. Serve it with CLASSIFIER_PRECISION=int8.")
    return 0
