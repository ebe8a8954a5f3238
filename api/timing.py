"""Where the time of a classification went, as `Server-Timing` (W3C) tells it to the caller."""

from dataclasses import dataclass

from starlette.types import Scope


@dataclass(slots=True)
class Timing:
    """The parts of one classification, in milliseconds; what was not reached is 0.

    Attributes:
        queue_ms: spent waiting: for a thread to decode in, for the runner, and on the way there.
        decode_ms: spent on turning the file into the model's input.
        infer_ms: spent in the model, for the whole batch that the image was part of.
    """

    queue_ms: float = 0.0
    decode_ms: float = 0.0
    infer_ms: float = 0.0

    def header(self) -> str:
        """The value of `Server-Timing`."""
        parts = {"queue": self.queue_ms, "decode": self.decode_ms, "infer": self.infer_ms}
        return ", ".join(f"{name};dur={max(0.0, spent):.2f}" for name, spent in parts.items())


def of(scope: Scope) -> Timing:
    """The timing of a request, made where there is none yet."""
    timing = scope["state"].setdefault("timing", Timing())
    assert isinstance(timing, Timing)
    return timing
