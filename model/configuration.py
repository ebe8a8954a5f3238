"""How an engine computes, and why so: what `tune/` measures, and what an engine is loaded with."""

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from configs.settings import Settings
from runtime.machine import cores

# Where nothing was measured. On a CPU more images make a batch hardly faster, and those in it wait; a GPU wants many.
CPU_BATCH, GPU_BATCH = 8, 64
# Each stream takes memory for a batch of its own; where there are more threads, a stream has several.
MOST_STREAMS = 8

Precision = Literal["f32", "bf16", "int8"]
Resize = Literal["exact", "quick"]
Positive = Annotated[int, Field(gt=0, le=4096)]


@dataclass(frozen=True, slots=True)
class Configuration:
    """How an engine computes.

    Attributes:
        precision: what its weights and sums are kept in.
        resize: how images are brought to the model's size: as the reference does to the pixel, or to a rounding.
        threads: that it computes on, all its streams together.
        streams: how many batches it computes beside each other, at most.
        batch_size: the most images in a batch.
    """

    precision: Precision
    resize: Resize
    threads: Positive
    streams: Positive
    batch_size: Positive


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table of what was measured.

    Attributes:
        configuration: what was measured.
        images_per_s: by the engine alone, with all its streams busy.
        alone_per_s: by the engine alone, one image at a time; None: not measured.
        same_top1: the share of images that keep float32's first label; None: not measured.
        largest: how far the most different confidence was from float32's; None: not measured.
        verdict: why it is chosen, or why not; may be empty.
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
        why: in one line, with what was measured.
        measured_at: when, in ISO 8601, UTC; None: nothing was measured.
        table: what was measured.
    """

    configuration: Configuration
    why: str
    measured_at: str | None = None
    table: tuple[Row, ...] = ()

    def described(self) -> dict[str, Any]:
        """As `/v2/models` shows it."""
        return {**asdict(self.configuration), "why": self.why, "measured_at": self.measured_at}

    def as_asked(self, settings: Settings) -> "Choice":
        """With the size of batches that a setting asks for, which changes nothing else."""
        size = settings.max_batch_size
        return replace(self, configuration=replace(self.configuration, batch_size=size)) if size else self

    def to_json(self) -> str:
        """The inverse of `choice_from_json`."""
        return _CHOICE.dump_json(self).decode()


_CHOICE = TypeAdapter(Choice)


def choice_from_json(text: str | bytes) -> Choice | None:
    """The choice that the text holds; None where it holds none."""
    try:
        return _CHOICE.validate_json(text)
    except ValidationError:
        return None


def default_choice(settings: Settings, on_gpu: bool) -> Choice:
    """What is served where nothing was measured: float32 unless a setting asks for another precision."""
    threads = settings.threads or cores()
    precision: Precision = "f32" if settings.precision == "auto" else settings.precision
    streams, batch = (1, GPU_BATCH) if on_gpu else (min(threads, MOST_STREAMS), CPU_BATCH)
    return Choice(Configuration(precision, "exact", threads, streams, batch), "not measured").as_asked(settings)
