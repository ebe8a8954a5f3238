"""Where the time of a classification went, as `Server-Timing` (W3C) tells it to the caller."""

from dataclasses import dataclass

from prometheus_client import Histogram

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_stages = Histogram("classifier_stage_seconds", "The parts of a classification's time.", ["stage"], buckets=_SECONDS)
_queue, _decode, _infer = (_stages.labels(stage) for stage in ("queue", "decode", "infer"))


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

    def observe(self) -> None:
        """Count it among all others."""
        for stage, spent_ms in ((_queue, self.queue_ms), (_decode, self.decode_ms), (_infer, self.infer_ms)):
            stage.observe(max(0.0, spent_ms) / 1000)
