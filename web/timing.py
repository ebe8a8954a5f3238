"""Measures the stages of a classification, for the header `Server-Timing` (W3C) and for Prometheus."""

from dataclasses import dataclass

from prometheus_client import Histogram

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_stages = Histogram("classifier_stage_seconds", "The parts of a classification's time.", ["stage"], buckets=_SECONDS)
_queue, _decode, _infer = (_stages.labels(stage) for stage in ("queue", "decode", "infer"))


@dataclass(slots=True)
class Timing:
    """The stages of one classification, milliseconds; 0 for a stage that was not reached.

    Attributes:
        queue_ms: waiting for a thread to decode in and for the runner, and the transfer to the runner.
        decode_ms: turning the file into the model's input.
        infer_ms: computing the whole batch that the image was part of.
    """

    queue_ms: float = 0.0
    decode_ms: float = 0.0
    infer_ms: float = 0.0

    def header(self) -> str:
        """Return the value of the header `Server-Timing`."""
        queue_ms, decode_ms, infer_ms = max(0.0, self.queue_ms), max(0.0, self.decode_ms), max(0.0, self.infer_ms)
        return f"queue;dur={queue_ms:.2f}, decode;dur={decode_ms:.2f}, infer;dur={infer_ms:.2f}"

    def observe(self) -> None:
        """Record the stages in the histogram `classifier_stage_seconds`."""
        for stage, spent_ms in ((_queue, self.queue_ms), (_decode, self.decode_ms), (_infer, self.infer_ms)):
            stage.observe(max(0.0, spent_ms) / 1000)
