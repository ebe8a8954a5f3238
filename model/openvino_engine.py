"""The engine on a CPU: the graph compiled by OpenVINO for this processor."""

from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from model.configuration import MOST_STREAMS, Precision
from model.engine import Images, Probabilities
from runtime.machine import cores


def precisions() -> tuple[Precision, ...]:
    """What this processor computes in, the most exact first."""
    import openvino
    from openvino import properties

    can = openvino.Core().get_property("CPU", properties.device.capabilities)
    return ("f32", "bf16") if "BF16" in can else ("f32",)


class OpenVinoEngine:
    """The graph compiled twice: for all threads together, and for a few streams beside each other.

    Attributes:
        precision: what it computes in, which is not what it is told to where the processor has no bf16.
    """

    name = "openvino"

    def __init__(self, graph: Path, precision: str, threads: int | None = None, streams: int | None = None) -> None:
        """
        Args:
            graph: the file of the OpenVINO graph.
            precision: `f32` or `bf16`; `int8` where the graph is a quantised one, which says so layer by layer. The
                rest of it is computed in float32, so that what was found when it was made holds on other processors.
            threads: to compute on; None: one for each core that this process may use.
            streams: how many batches it can compute beside each other; None: one for each thread, and at most 8.
        """
        import openvino
        from openvino import properties

        core = openvino.Core()
        is_bf16 = precision == "bf16"
        threads = threads or cores()
        self.streams = streams or min(threads, MOST_STREAMS)
        self.precision = precision

        def requests(streams: int) -> SimpleQueue[Any]:
            compiled = core.compile_model(
                graph,
                "CPU",
                {
                    properties.hint.inference_precision: openvino.Type.bf16 if is_bf16 else openvino.Type.f32,
                    properties.num_streams: streams,
                    properties.inference_num_threads: threads,
                    # Pinned threads of several processes would share the first core.
                    properties.hint.enable_cpu_pinning: False,
                },
            )
            computes_in = compiled.get_property(properties.hint.inference_precision)
            if is_bf16 and computes_in != openvino.Type.bf16:
                self.precision = "f32"
            free: SimpleQueue[Any] = SimpleQueue()
            for _ in range(streams):
                free.put(compiled.create_infer_request())
            return free

        self._together = requests(1)
        self._beside = requests(self.streams) if self.streams > 1 else self._together

    def predict(self, images: Images, together: bool = True) -> Probabilities:
        # BentoML's development server, which makes no batches, calls from more threads than there are requests.
        free = self._together if together else self._beside
        request = free.get()
        try:
            outputs = request.infer({0: images}, share_inputs=True)
            return np.array(outputs[0], dtype=np.float32)
        finally:
            free.put(request)
