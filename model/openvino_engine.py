"""The engine on a CPU: the graph compiled by OpenVINO for this processor."""

from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from configs.machine import cores
from model.engine import Images, Probabilities, precision_of

# Each takes memory for a batch of its own; where there are more threads, a stream has several.
MOST_STREAMS = 8


class OpenVinoEngine:
    """The graph compiled twice: for all threads together, and for a few streams beside each other."""

    name = "openvino"

    def __init__(self, graph: Path, precision: str, threads: int | None = None) -> None:
        """
        Args:
            graph: the file of the OpenVINO graph.
            precision: `auto`, `f32` or `bf16`; `int8` where the graph is a quantised one, which says so layer by layer.
            threads: to compute on; None: one for each core that this process may use.
        """
        import openvino
        from openvino import properties

        core = openvino.Core()
        native = "BF16" in core.get_property("CPU", properties.device.capabilities)
        self.precision = precision_of(precision, native)
        # What is not int8 in a quantised graph is computed as `auto` would.
        is_bf16 = native if precision == "int8" else self.precision == "bf16"
        threads = threads or cores()
        self.streams = min(threads, MOST_STREAMS)

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
