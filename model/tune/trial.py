"""What one run of measurements works with: the model, what it can be computed on, the time it may take, its table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from configs.settings import Settings
from model.configuration import Configuration, Precision, Row
from model.engine import Engine, Images
from model.store import PreparedModel
from model.tune.speed import Load, Timer, blank, fastest_rounds

SECONDS = 8.0
# Ways whose speeds differ by less count as equally fast: so much differs between two runs of the same.
CLOSE = 0.04

NAMES = {"f32": "float32", "bf16": "bf16", "int8": "int8"}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Device:
    """What a model is computed on.

    Attributes:
        precisions: what it computes in, the most exact first.
        default: the configuration to begin with.
        is_gpu: whether it leaves decoding to the processor, and computes one batch at a time.
        load: makes an engine of a configuration.
    """

    precisions: tuple[Precision, ...]
    default: Configuration
    is_gpu: bool
    load: Callable[[Configuration], Engine]


@dataclass
class Trial:
    """One run of measurements.

    Args:
        device: what the model is computed on.
        prepared: the model.
        settings: what is asked for, and so not measured.
        timer: the time it may take.
        say: told what is going on.
    """

    device: Device
    prepared: PreparedModel
    settings: Settings
    timer: Timer = field(default_factory=lambda: Timer(SECONDS))
    say: Say = lambda _: None
    rows: dict[Configuration, Row] = field(default_factory=dict)
    engines: dict[Precision, Engine] = field(default_factory=dict)
    loading_s: float = 0.0

    def engine(self, precision: Precision) -> Engine:
        """The engine of that precision, with the configuration to begin with."""
        if precision not in self.engines:
            self.engines[precision] = self.loaded(replace(self.device.default, precision=precision))
        return self.engines[precision]

    def loaded(self, configuration: Configuration) -> Engine:
        """An engine of that configuration."""
        started = self.timer.clock()
        engine = self.device.load(configuration)
        self.loading_s = max(self.loading_s, self.timer.clock() - started)
        return engine

    def images(self, number: int) -> Images:
        """So many images as the model takes them."""
        recipe = self.prepared.recipe
        return blank(number, recipe.height, recipe.width)

    def simplest_of_fastest(self, loads: Mapping[Configuration, Load], seconds: float) -> Configuration:
        """The first of those that are about as fast as the fastest, by the best round that each ever had."""
        for configuration, per_s in fastest_rounds(loads, self.timer.part(seconds)).items():
            self.record(Row(configuration, per_s))
        speeds = {configuration: self.rows[configuration].images_per_s for configuration in loads}
        return next(one for one, per_s in speeds.items() if per_s * (1 + CLOSE) >= max(speeds.values()))

    def record(self, row: Row) -> None:
        """Put a line into the table, with what is there of the same configuration."""
        known = self.rows.get(row.configuration, row)
        self.rows[row.configuration] = replace(
            row,
            images_per_s=max(known.images_per_s, row.images_per_s),
            alone_per_s=row.alone_per_s or known.alone_per_s,
            same_top1=known.same_top1 if row.same_top1 is None else row.same_top1,
            largest=known.largest if row.largest is None else row.largest,
            verdict=row.verdict or known.verdict,
        )
