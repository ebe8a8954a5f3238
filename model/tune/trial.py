"""Holds the state of one run of measurements: the model, the device, the time limit, the engines and the results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from configs.settings import Settings
from model.configuration import MEASURING_S, Configuration, Precision, Row
from model.engine import Engine, Images
from model.store import PreparedModel
from model.tune.speed import Load, Timer, best_rounds, noise

# The longest time for comparing answers, in seconds, where no start waits: when a model is prepared, or on request.
COMPARING_S = 100.0
# Speeds that differ by a smaller share count as equal: two runs of the same configuration differ as much.
EQUAL_WITHIN = 0.04

PRECISION_NAMES = {"f32": "float32", "bf16": "bf16", "int8": "int8"}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Device:
    """Describes what the model is computed on.

    Attributes:
        precisions: the precisions to measure, the most exact first.
        default: the configuration to start from.
        is_gpu: whether it is a GPU, which computes one batch at a time while the CPU decodes.
        load: loads an engine with a configuration.
    """

    precisions: tuple[Precision, ...]
    default: Configuration
    is_gpu: bool
    load: Callable[[Configuration], Engine]


@dataclass
class Trial:
    """Loads engines, and records what is measured, during one run.

    Args:
        device: what the model is computed on.
        prepared: the model.
        settings: values that are set, and so not measured.
        timer: limits the time.
        comparing_s: seconds that comparing answers may take, if that is more than the timer leaves.
        say: called with lines about the progress.
        rows: the measurements so far.
        engines: engines loaded so far, each with the default configuration in that precision.
        loading_s: the longest time that loading an engine took, in seconds.
    """

    device: Device
    prepared: PreparedModel
    settings: Settings
    timer: Timer = field(default_factory=lambda: Timer(MEASURING_S))
    comparing_s: float = 0.0
    say: Say = lambda _: None
    rows: dict[Configuration, Row] = field(default_factory=dict)
    engines: dict[Precision, Engine] = field(default_factory=dict)
    loading_s: float = 0.0

    def engine(self, precision: Precision) -> Engine:
        """Return the engine of that precision, otherwise with the default configuration."""
        if precision not in self.engines:
            self.engines[precision] = self.load_engine(replace(self.device.default, precision=precision))
        return self.engines[precision]

    def load_engine(self, configuration: Configuration) -> Engine:
        """Load an engine with that configuration, and note how long it takes."""
        started = self.timer.clock()
        engine = self.device.load(configuration)
        self.loading_s = max(self.loading_s, self.timer.clock() - started)
        return engine

    def images(self, number: int) -> Images:
        """Make a batch of noise for the model: uint8, number x height x width x 3."""
        recipe = self.prepared.recipe
        return noise(number, recipe.height, recipe.width)

    def simplest_of_fastest(self, loads: Mapping[Configuration, Load], seconds: float) -> Configuration:
        """Return the first of the configurations that are about as fast as the fastest, by the best round so far."""
        for configuration, per_s in best_rounds(loads, self.timer.part(seconds)).items():
            self.record(Row(configuration, per_s))
        speeds = {configuration: self.rows[configuration].images_per_s for configuration in loads}
        return next(one for one, per_s in speeds.items() if per_s * (1 + EQUAL_WITHIN) >= max(speeds.values()))

    def record(self, row: Row) -> None:
        """Add a row to the table, merged with what was measured of the same configuration before."""
        known = self.rows.get(row.configuration, row)
        self.rows[row.configuration] = replace(
            row,
            images_per_s=max(known.images_per_s, row.images_per_s),
            alone_per_s=row.alone_per_s or known.alone_per_s,
            same_top1=known.same_top1 if row.same_top1 is None else row.same_top1,
            largest=known.largest if row.largest is None else row.largest,
            verdict=row.verdict or known.verdict,
        )
