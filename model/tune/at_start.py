"""Finds the choice to serve with when a server starts. A subprocess measures, so this loads nothing that measures."""

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from configs.settings import Settings
from model import choices
from model.configuration import MEASURING_S, Choice, choice_from_json, default_choice
from model.devices import computes_on_gpu
from model.store import PreparedModel
from runtime import python_path
from runtime.processes import run_child

logger = logging.getLogger("bentoml.classifier")

# The longest time that a start waits. A measurement takes less: `MEASURING_S`, and `COMPARING_S` more where bf16 is
# asked for. Only a failure takes longer.
START_WAITS_S = 180


def measure_in_subprocess(prepared: PreparedModel, settings: Settings, code: Path) -> Choice:
    """Return the choice to serve with, after measuring it in a subprocess where there is none yet.

    Args:
        prepared: the model; the environment must name it, since the subprocess reads its settings from there.
        settings: of this process.
        code: the folder that contains the package `model`.

    Returns:
        the choice; the default where `tune` is off, or the measurement fails.
    """
    fallback = default_choice(settings, computes_on_gpu(settings))
    if settings.tune == "off":
        if settings.precision == "bf16":
            logger.warning("CLASSIFIER_TUNE=off: whether bf16 answers as float32 does for this model is not measured.")
        return fallback
    found = choices.find(prepared, settings)
    if found is None:
        # When the subprocess ends, the memory of all measured engines is free.
        command = [sys.executable, "-P", "-m", "model.tune", "--json", "--seconds", str(MEASURING_S)]
        environment = python_path.environment(code)
        try:
            done = run_child(command, START_WAITS_S, env=environment, stdout=subprocess.PIPE)
            found = choice_from_json(done.stdout)
        except (OSError, subprocess.TimeoutExpired):
            found = None
    if found is None:
        logger.warning("How the model is best computed could not be measured; it is computed on all cores.")
        found = _without_bf16(fallback)
    if settings.precision == "bf16" and found.configuration.precision != "bf16":
        logger.warning("CLASSIFIER_PRECISION=bf16: float32 is served in its place (%s).", found.why)
    return found.with_max_batch_size(settings)


def _without_bf16(choice: Choice) -> Choice:
    """Return the choice with float32 in the place of bf16, whose answers nobody has compared."""
    if choice.configuration.precision != "bf16":
        return choice
    return replace(choice, configuration=replace(choice.configuration, precision="f32"))
