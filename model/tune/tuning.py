"""Choose by measurement how a model is computed on this machine: `python -m model.tune` prints what was measured.

The precision first, and with it whether images may be resized quickly: the fastest way that answers as float32 with the
exact resize does. Then, for that way, threads, streams and the size of batches. Of ways that are about as fast as each
other the more exact, or the simpler, is taken.
"""

import argparse
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from configs.settings import Settings, SettingsError, load_settings
from model import choices, openvino_engine, torch_engine
from model.configuration import Choice, choice_from_json, default_choice
from model.devices import chosen_engine, has_cuda
from model.errors import ImageError, ModelError
from model.images.decode import decode
from model.loading import check, load
from model.photographs import photographs
from model.prepared import find_prepared
from model.store import PreparedModel
from model.tune.precision_choice import Sample, choose_precision, made_sample
from model.tune.shape_choice import choose_shape
from model.tune.speed import Timer
from model.tune.trial import NAMES, SECONDS, Device, Say, Trial

logger = logging.getLogger("bentoml.classifier")

# A start does not wait longer for what takes `SECONDS` on any machine that works.
START_WAITS_S = 120
SECONDS_WITH_PHOTOGRAPHS = 60.0
FEWEST_PHOTOGRAPHS, MOST_PHOTOGRAPHS = 40, 400


def choose(trial: Trial, samples: Sequence[Sample]) -> Choice:
    """Measure, and choose."""
    chosen, why = choose_precision(trial, samples)
    if not trial.device.is_gpu:
        chosen = choose_shape(trial, chosen)
    rows = [replace(row, verdict="chosen") if row.configuration == chosen else row for row in trial.rows.values()]
    return Choice(chosen, why, datetime.now(UTC).isoformat(timespec="seconds"), tuple(rows))


def measure(
    prepared: PreparedModel,
    settings: Settings,
    say: Say,
    samples: Sequence[Sample] = (),
    seconds: float = SECONDS,
) -> Choice:
    """Measure, choose, and keep the choice.

    Args:
        prepared: the model.
        settings: what is asked for, and so not measured.
        say: told what is going on.
        samples: images to compare answers on, beside those that are made on the spot.
        seconds: how long it may take.

    Raises:
        ModelError: the settings ask for what this machine or this model does not have.
    """
    check(prepared, settings)
    timer = Timer(seconds)
    trial = Trial(_device(prepared, settings), prepared, settings, timer, say)
    choice = choose(trial, [made_sample(), *samples])
    choices.keep(prepared, settings, choice)
    say(f"Chosen: {summary(choice)} ({seconds - timer.left_s:.1f} s).")
    return choice


def ensure(prepared: PreparedModel, settings: Settings, say: Say) -> None:
    """Have the choice measured and kept, where it is not yet. What goes wrong costs speed alone, and is only told."""
    if settings.tune == "off" or choices.find(prepared, settings):
        return
    try:
        measure(prepared, settings, say)
    except ModelError as error:
        say(f"WARNING: {error}")
    except Exception as error:
        say(f"WARNING: Nothing could be measured ({type(error).__name__}); the start will try again.")


def measured_apart(prepared: PreparedModel, settings: Settings, code: Path) -> Choice:
    """What to serve with, measured in a process of its own where that was not done yet.

    Args:
        prepared: the model; the settings of the process must name it.
        settings: of this process.
        code: the folder that this package lies in.
    """
    fallback = default_choice(settings, chosen_engine(settings) == "torch" and has_cuda())
    if settings.tune == "off":
        return fallback
    found = choices.find(prepared, settings)
    if found is None:
        # It takes the engines' memory away with it when it ends.
        command = [sys.executable, "-P", "-m", "model.tune", "--json"]
        paths = [str(code), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        try:
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False, timeout=START_WAITS_S)
            found = choice_from_json(done.stdout)
        except (OSError, subprocess.TimeoutExpired):
            found = None
    if found is None:
        logger.warning("How the model is best computed could not be measured; float32 on all cores serves.")
    return (found or fallback).as_asked(settings)


def summary(choice: Choice) -> str:
    """The choice in one line."""
    chosen = choice.configuration
    return (
        f"{NAMES[chosen.precision]}, {chosen.resize} resize, {chosen.threads} threads, {chosen.streams} streams, "
        f"batches of {chosen.batch_size} ({choice.why})"
    )


def table(choice: Choice) -> str:
    """What was measured, a line for each configuration."""
    heads = ("precision", "resize", "threads", "streams", "batch", "images/s", "one: ms", "top-1", "largest", "")
    lines = [heads]
    for row in choice.table:
        one = row.configuration
        lines.append(
            (
                NAMES[one.precision],
                one.resize,
                str(one.threads),
                str(one.streams),
                str(one.batch_size),
                f"{row.images_per_s:.1f}",
                f"{1000 / row.alone_per_s:.1f}" if row.alone_per_s else "",
                f"{row.same_top1:.1%}" if row.same_top1 is not None else "",
                f"{row.largest:.4f}" if row.largest is not None else "",
                row.verdict,
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads) - 1)]
    return "\n".join(
        "  ".join([*(cell.rjust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    )


def _device(prepared: PreparedModel, settings: Settings) -> Device:
    name = chosen_engine(settings)
    if name == "torch":
        precisions = torch_engine.precisions(settings.precision == "bf16")
    else:
        precisions = openvino_engine.precisions()
    is_gpu = name == "torch" and has_cuda()
    default = default_choice(settings, is_gpu).configuration
    return Device(precisions, default, is_gpu, lambda configuration: load(prepared, name, configuration))


def _prepared(settings: Settings) -> PreparedModel:
    prepared = find_prepared(settings)
    if prepared is None:
        raise ModelError("There is no prepared model to measure; run 'make model' first.")
    return prepared


def _owners(folder: Path, prepared: PreparedModel, settings: Settings) -> Sample:
    files = []
    for path in photographs(folder, MOST_PHOTOGRAPHS):
        with suppress(ImageError, OSError):
            data = path.read_bytes()
            decode(data, prepared.recipe, settings.max_image_pixels)
            files.append(data)
    if len(files) < FEWEST_PHOTOGRAPHS:
        raise ModelError(f"{len(files)} photographs show too little; give at least {FEWEST_PHOTOGRAPHS}, better 300.")
    return Sample(files, len(files))


def _say(line: str) -> None:
    print(f"[tune] {line}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0: there is a choice now, 1: there can't be, with one line that says why."""
    parser = argparse.ArgumentParser(prog="python -m model.tune", description=__doc__)
    parser.add_argument("--anew", action="store_true", help="measure although it is known what to choose")
    parser.add_argument("--seconds", type=float, help="how long to measure, at most")
    parser.add_argument("--photographs", type=Path, help="a folder of images to compare answers on too; implies --anew")
    parser.add_argument("--json", action="store_true", help="print the choice as JSON")
    given = parser.parse_args(arguments)
    try:
        settings = load_settings()
        prepared = _prepared(settings)
        samples = [_owners(given.photographs, prepared, settings)] if given.photographs else []
        seconds = given.seconds or (SECONDS_WITH_PHOTOGRAPHS if samples else SECONDS)
        choice = None if given.anew or samples else choices.find(prepared, settings)
        choice = choice or measure(prepared, settings, _say, samples, seconds)
    except (ModelError, SettingsError) as error:
        _say(f"ERROR: {error}")
        return 1
    except Exception as error:
        _say(f"ERROR: Nothing could be measured ({type(error).__name__}); float32 on all cores serves.")
        return 1
    print(choice.to_json() if given.json else f"{table(choice)}\n\n{summary(choice)}")
    return 0
