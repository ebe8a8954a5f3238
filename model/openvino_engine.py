"""The engine on a CPU: the graph compiled by OpenVINO for this processor."""

from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from configs.machine import cores
from model.engine import Images, Probabilities, precision_of


class OpenVinoEngine:
    """A compiled graph, and one request to it for each batch that may be computed at a time."""

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
        element = openvino.Type.bf16 if is_bf16 else openvino.Type.f32
        self._compiled = core.compile_model(
            graph,
            "CPU",
            {
                properties.hint.inference_precision: element,
                properties.hint.performance_mode: properties.hint.PerformanceMode.LATENCY,
                properties.inference_num_threads: threads or cores(),
                # Pinned threads of several processes would share the first core.
                properties.hint.enable_cpu_pinning: False,
            },
        )
        self.streams = int(self._compiled.get_property(properties.num_streams))
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.streams):
            self._free.put(self._compiled.create_infer_request())

    def predict(self, images: Images) -> Probabilities:
        # BentoML's development server, which makes no batches, calls from more threads than there are streams.
        request = self._free.get()
        try:
            outputs = request.infer({0: images}, share_inputs=True)
            return np.array(outputs[0], dtype=np.float32)
        finally:
            self._free.put(request)
