"""Engines, a clock and a model for the tests of what is chosen by measurement: nothing here takes real time."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from configs.settings import Settings
from model.configuration import MEASURING_S, Configuration, default_choice
from model.engine import Images, Probabilities
from model.recipe import Recipe
from model.store import Manifest, PreparedModel
from model.tune.speed import Timer
from model.tune.trial import Device, Trial

EDGE, LABELS = 16, 10
RECIPE = Recipe(None, 2, EDGE, EDGE, 1 / 255, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
Answers = Callable[[Images], Probabilities]


class Clock:
    """Tells the time that engines have taken."""

    def __init__(self) -> None:
        self._now = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self._now

    def take(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds


def float32(images: Images) -> Probabilities:
    """Sure of one label, which the colour decides."""
    label = images[:, 1:].reshape(len(images), -1).astype(int).sum(axis=1) % LABELS
    rows = np.full((len(images), LABELS), 0.02, np.float32)
    rows[np.arange(len(images)), label] = 0.82
    return rows


def off_by(difference: float) -> Answers:
    """As float32, but for a difference in every confidence."""

    def answers(images: Images) -> Probabilities:
        return float32(images) + np.float32(difference)

    return answers


def turned(images: Images) -> Probabilities:
    """Says another label of one image in twenty."""
    rows = float32(images)
    wrong = images[:, 0, 0, 0] % 20 == 0
    rows[wrong] = np.roll(rows[wrong], 1, axis=1)
    return rows


def not_a_number(images: Images) -> Probabilities:
    """Overflows."""
    return np.full((len(images), LABELS), np.nan, np.float32)


class TimedEngine:
    """Takes the clock's time for what it computes."""

    name = "timed"

    def __init__(self, configuration: Configuration, clock: Clock, per_s: float, answers: Answers) -> None:
        self.precision, self.streams = configuration.precision, configuration.streams
        self._clock, self._per_s, self._answers = clock, per_s, answers

    def predict(self, images: Images, together: bool = True) -> Probabilities:  # noqa: ARG002 - as fast either way
        self._clock.take(len(images) / self._per_s)
        return self._answers(images)


@dataclass
class Machine:
    """A machine as it may be.

    Attributes:
        per_s: images a second of each precision.
        answers: of each precision; float32's where it is left out.
        faster: how many times as fast it is in a configuration.
        threads: that there are.
        is_gpu: whether it is a GPU.
        fidelity: what is known of the prepared model.
    """

    per_s: Mapping[str, float]
    answers: Mapping[str, Answers] = field(default_factory=dict)
    faster: Callable[[Configuration], float] = lambda _: 1.0
    threads: int = 4
    is_gpu: bool = False
    fidelity: dict[str, Any] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    loaded: list[Configuration] = field(default_factory=list)

    def trial(self, seconds: float = MEASURING_S, comparing_s: float = 0.0, **settings: object) -> Trial:
        asked = Settings(_env_file=None, **{"threads": self.threads, **settings})  # type: ignore[arg-type]
        default = default_choice(asked, self.is_gpu).configuration
        device = Device(tuple(self.per_s), default, self.is_gpu, self._load)  # type: ignore[arg-type]
        if "threads" not in settings:
            asked = asked.model_copy(update={"threads": None})
        manifest = Manifest(
            "it", "it", "1", False, [str(number) for number in range(LABELS)], RECIPE.to_dict(), self.fidelity
        )
        prepared, timer = PreparedModel("it:1", Path("/nowhere"), manifest), Timer(seconds, self.clock)
        return Trial(device, prepared, asked, timer, comparing_s)

    def _load(self, configuration: Configuration) -> TimedEngine:
        self.loaded.append(configuration)
        per_s = self.per_s[configuration.precision] * self.faster(configuration)
        answers = self.answers.get(configuration.precision, float32)
        return TimedEngine(configuration, self.clock, per_s, answers)
