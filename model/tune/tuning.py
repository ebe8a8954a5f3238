"""Measures how to compute a model on this machine, and saves the choice: `python -m model.tune`.

First it chooses precision and resize: the fastest pair whose answers are close enough to float32 with the exact resize.
For that pair it chooses threads, streams and the size of batches. Among about equally fast configurations it takes the
more exact or simpler one.
"""

import argparse
import logging
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from configs.settings import Settings, SettingsError, load_settings
from model import choices, openvino_engine, torch_engine
from model.configuration import MEASURING_S, Choice, default_choice
from model.devices import chosen_engine, computes_on_gpu
from model.engine_check import check
from model.errors import ImageError, ModelError
from model.images.decode import decode
from model.loading import load
from model.photographs import find_photographs
from model.prepared import find_prepared
from model.store import PreparedModel
from model.tune.precision_choice import Sample, choose_precision, generated_sample
from model.tune.report import summary, table
from model.tune.shape_choice import choose_shape
from model.tune.speed import Timer
from model.tune.trial import COMPARING_S, Device, Say, Trial

logger = logging.getLogger("bentoml.classifier")

FEWEST_PHOTOGRAPHS, MOST_PHOTOGRAPHS = 40, 400


def choose(trial: Trial, samples: Sequence[Sample]) -> Choice:
    """Measure, and choose a configuration.

    Args:
        trial: the run of measurements.
        samples: images to compare answers on.
    """
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
    seconds: float | None = None,
) -> Choice:
    """Measure, choose a configuration, and save the choice.

    Args:
        prepared: the model.
        settings: values that are set, and so not measured.
        say: called with lines about the progress.
        samples: images to compare answers on, in addition to generated pictures.
        seconds: the limit of the time; None: `MEASURING_S`, and if need be `COMPARING_S` for each sample.

    Raises:
        ModelError: this machine or this model lacks what the settings ask for.
    """
    check(prepared, settings)
    samples = [generated_sample(), *samples]
    timer, comparing_s = Timer(seconds or MEASURING_S), 0.0 if seconds else COMPARING_S * len(samples)
    trial = Trial(_device(prepared, settings), prepared, settings, timer, comparing_s, say)
    choice = choose(trial, samples)
    choices.save(prepared, settings, choice)
    say(f"Chosen: {summary(choice)} ({timer.clock() - timer.started:.1f} s).")
    return choice


def ensure_measured(prepared: PreparedModel, settings: Settings, say: Say) -> None:
    """Measure and save the choice where there is none yet.

    An error is reported through `say` and not raised, since it only costs speed.
    """
    if settings.tune == "off" or choices.find(prepared, settings):
        return
    try:
        measure(prepared, settings, say)
    except ModelError as error:
        say(f"WARNING: {error}")
    except Exception as error:
        say(f"WARNING: Nothing could be measured ({type(error).__name__}); the start will try again.")


def _device(prepared: PreparedModel, settings: Settings) -> Device:
    name = chosen_engine(settings)
    if name == "torch":
        precisions = torch_engine.precisions(settings.precision == "bf16")
    else:
        precisions = openvino_engine.precisions()
    is_gpu = computes_on_gpu(settings)
    default = default_choice(settings, is_gpu).configuration
    return Device(precisions, default, is_gpu, lambda configuration: load(prepared, name, configuration))


def _require_prepared(settings: Settings) -> PreparedModel:
    prepared = find_prepared(settings)
    if prepared is None:
        raise ModelError("There is no prepared model to measure; run 'make model' first.")
    return prepared


def _photograph_sample(folder: Path, prepared: PreparedModel, settings: Settings) -> Sample:
    files = []
    for path in find_photographs(folder, MOST_PHOTOGRAPHS):
        with suppress(ImageError, OSError):
            data = path.read_bytes()
            decode(data, prepared.recipe, settings.max_image_pixels)
            files.append(data)
    if len(files) < FEWEST_PHOTOGRAPHS:
        raise ModelError(f"{len(files)} photographs show too little; give at least {FEWEST_PHOTOGRAPHS}, better 300.")
    return Sample(files, len(files))


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError("give a number of seconds above 0")
    return seconds


def _say(line: str) -> None:
    print(f"[tune] {line}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns 0 where a choice exists now, else 1, after one line with the reason."""
    parser = argparse.ArgumentParser(prog="python -m model.tune", description=__doc__)
    parser.add_argument("--anew", action="store_true", help="measure although it is known what to choose")
    longest = f"{MEASURING_S:.0f} s, and up to {COMPARING_S:.0f} s more where a slow model needs them"
    parser.add_argument("--seconds", type=_seconds, help=f"measure for no longer; by default {longest}")
    parser.add_argument("--photographs", type=Path, help="a folder of images to compare answers on too; implies --anew")
    parser.add_argument("--json", action="store_true", help="print the choice as JSON")
    given = parser.parse_args(arguments)
    try:
        settings = load_settings()
        prepared = _require_prepared(settings)
        samples = [_photograph_sample(given.photographs, prepared, settings)] if given.photographs else []
        choice = None if given.anew or samples else choices.find(prepared, settings)
        choice = choice or measure(prepared, settings, _say, samples, given.seconds)
    except (ModelError, SettingsError) as error:
        _say(f"ERROR: {error}")
        return 1
    except Exception as error:
        _say(f"ERROR: Nothing could be measured ({type(error).__name__}); float32 on all cores serves.")
        return 1
    print(choice.to_json() if given.json else f"{table(choice)}\n\n{summary(choice)}")
    return 0
