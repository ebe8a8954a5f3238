"""Defines how an engine computes: the configurations that `tune/` measures, and the one that it chooses."""

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from configs.settings import Settings
from runtime.machine import cores

# Sizes of batches where nothing was measured. On a CPU a larger batch is hardly faster per image, every image in it
# waits for the whole batch, and each stream keeps the memory for it. A GPU needs many images at once.
CPU_BATCH, GPU_BATCH = 4, 64
# Each stream needs memory for a batch of its own. With more threads than this, a stream has several threads.
MOST_STREAMS = 8
# The longest time for measuring how to compute, in seconds, where a start waits for it.
MEASURING_S = 8.0

Precision = Literal["f32", "bf16", "int8"]
Resize = Literal["exact", "quick"]
Positive = Annotated[int, Field(gt=0, le=4096)]


@dataclass(frozen=True, slots=True)
class Configuration:
    """How an engine computes.

    Attributes:
        precision: the type of the weights and of the arithmetic.
        resize: `exact`: pixels equal those of the reference; `quick`: faster, with rounding differences.
        threads: number of threads, for all streams together.
        streams: the largest number of batches computed at the same time.
        batch_size: the largest number of images in a batch.
    """

    precision: Precision
    resize: Resize
    threads: Positive
    streams: Positive
    batch_size: Positive


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table of measurements.

    Attributes:
        configuration: what was measured.
        images_per_s: images per second of the engine without decoding, all streams busy.
        alone_per_s: images per second of the engine without decoding, one image at a time; None: not measured.
        same_top1: share of images with the same first label as in float32, 0 to 1; None: not measured.
        largest: largest difference of a confidence from float32's; None: not measured.
        verdict: why it was chosen or rejected; may be empty.
    """

    configuration: Configuration
    images_per_s: float
    alone_per_s: float | None = None
    same_top1: float | None = None
    largest: float | None = None
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The configuration that a model is served with.

    Attributes:
        configuration: what was chosen.
        why: the reason in one line, with the measurements.
        measured_at: time in ISO 8601, UTC; None: nothing was measured.
        table: all measurements.
    """

    configuration: Configuration
    why: str
    measured_at: str | None = None
    table: tuple[Row, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that `/v2/models` shows: all but the table."""
        return {**asdict(self.configuration), "why": self.why, "measured_at": self.measured_at}

    @property
    def images_per_s(self) -> float | None:
        """What was measured of the chosen configuration; None where nothing was."""
        return next((row.images_per_s for row in self.table if row.configuration == self.configuration), None)

    def with_max_batch_size(self, settings: Settings) -> "Choice":
        """Apply CLASSIFIER_MAX_BATCH_SIZE where it is set; it changes nothing else."""
        size = settings.max_batch_size
        return replace(self, configuration=replace(self.configuration, batch_size=size)) if size else self

    def to_json(self) -> str:
        """Return the choice as JSON; `choice_from_json` reads it."""
        return _CHOICE.dump_json(self).decode()


_CHOICE = TypeAdapter(Choice)


def choice_from_json(text: str | bytes) -> Choice | None:
    """Parse the JSON of a choice; None where the text is not one."""
    try:
        return _CHOICE.validate_json(text)
    except ValidationError:
        return None


def default_choice(settings: Settings, on_gpu: bool) -> Choice:
    """Return the choice where nothing was measured: float32 unless a setting names another precision."""
    threads = settings.threads or cores()
    precision: Precision = "f32" if settings.precision == "auto" else settings.precision
    streams, batch = (1, GPU_BATCH) if on_gpu else (min(threads, MOST_STREAMS), CPU_BATCH)
    choice = Choice(Configuration(precision, "exact", threads, streams, batch), "not measured")
    return choice.with_max_batch_size(settings)
