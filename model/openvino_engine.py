"""Computes on a CPU: OpenVINO compiles the graph for this processor."""

from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from model.configuration import MOST_STREAMS, Precision
from model.engine import Images, Probabilities, places
from runtime.machine import cores


def precisions() -> tuple[Precision, ...]:
    """Return the precisions that this processor supports, the most exact first."""
    import openvino
    from openvino import properties

    capabilities = openvino.Core().get_property("CPU", properties.device.capabilities)
    return ("f32", "bf16") if "BF16" in capabilities else ("f32",)


class OpenVinoEngine:
    """Compiles the graph twice: with one stream that uses all threads, and with several streams.

    Attributes:
        precision: the precision in use: `f32` where bf16 is asked for and the processor has none.
    """

    name = "openvino"

    def __init__(self, graph: Path, precision: str, threads: int | None = None, streams: int | None = None) -> None:
        """
        Args:
            graph: the file of the OpenVINO graph.
            precision: `f32` or `bf16`; `int8` for a quantised graph, which marks its int8 layers itself. Its other
                layers are computed in float32, so that its measured accuracy holds on other processors too.
            threads: number of threads; None: one for each core that this process may use.
            streams: the largest number of batches computed at the same time; None: one per thread, at most 8.
        """
        import openvino
        from openvino import properties

        # The first type that is converted makes OpenVINO import a part of numpy. Two threads of `predict` that did so
        # at the same time could wait for each other for ever, and keep Python's lock (seen in OpenVINO 2026.4).
        openvino.Type.u8.to_dtype()
        core = openvino.Core()
        is_bf16 = precision == "bf16"
        threads = threads or cores()
        self.streams = streams or min(threads, MOST_STREAMS)
        self.precision = precision
        self._tensor = openvino.Tensor

        def compile_graph(streams: int) -> SimpleQueue[Any]:
            compiled = core.compile_model(
                graph,
                "CPU",
                {
                    properties.hint.inference_precision: openvino.Type.bf16 if is_bf16 else openvino.Type.f32,
                    properties.num_streams: streams,
                    properties.inference_num_threads: threads,
                    # With pinning, the threads of several processes would all run on the same first cores.
                    properties.hint.enable_cpu_pinning: False,
                },
            )
            computes_in = compiled.get_property(properties.hint.inference_precision)
            if is_bf16 and computes_in != openvino.Type.bf16:
                self.precision = "f32"
            requests: SimpleQueue[Any] = SimpleQueue()
            # OpenVINO keeps what is more than there are streams waiting, and starts it on the first free stream.
            for _ in range(places(streams)):
                requests.put(compiled.create_infer_request())
            return requests

        self._full_requests = compile_graph(1)
        self._stream_requests = compile_graph(self.streams) if self.streams > 1 else self._full_requests

    def predict(self, images: Images, together: bool = True) -> Probabilities:
        # BentoML's development server makes no batches: it calls from more threads than there are requests, which wait.
        requests = self._full_requests if together else self._stream_requests
        request = requests.get()
        try:
            # Not as an argument of `infer`: what OpenVINO does in Python to find out its kind takes 0.2 ms.
            # A variable of its own: it must stay in memory, since the request has only its address.
            shared = np.require(images, requirements=("C", "W"))
            request.set_input_tensor(self._tensor(shared, shared_memory=True))
            request.infer(share_outputs=True)
            return np.array(request.get_output_tensor(0).data, dtype=np.float32)
        finally:
            requests.put(request)
