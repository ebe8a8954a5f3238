"""Computes on CUDA: the checkpoint in torch. On a CPU the same code is the reference."""

import threading
from typing import Any

import numpy as np

from model.configuration import Precision
from model.engine import Images, Probabilities, usual_sizes
from model.store import CHECKPOINT, PreparedModel

WARM_UPS = 3


def precisions(bf16_is_asked_for: bool) -> tuple[Precision, ...]:
    """Return the precisions to measure here, the most exact first.

    On a CPU torch is the reference, so that bf16 is measured only where a setting asks for it.
    """
    import torch

    is_native = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return ("f32", "bf16") if is_native or bf16_is_asked_for else ("f32",)


class TorchEngine:
    """Runs the classifier in torch, in channels-last layout.

    On CUDA, images are copied from pinned memory, which saves the driver a copy. Each size of batch is captured once as
    a CUDA graph, so that a batch needs one launch instead of one for each layer.
    """

    name = "torch"
    streams = 1

    def __init__(self, prepared: PreparedModel, precision: str, max_batch: int) -> None:
        """
        Args:
            prepared: the model.
            precision: `f32` or `bf16`.
            max_batch: the largest number of images computed at a time.
        """
        import torch

        from model.checkpoint.torch_loading import load_classifier

        self._torch = torch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._is_cuda = self._device.type == "cuda"
        self.precision = precision
        element = torch.bfloat16 if self.precision == "bf16" else torch.float32
        recipe = prepared.recipe
        manifest = prepared.manifest
        classifier = load_classifier(prepared.folder / CHECKPOINT, recipe, manifest.function, manifest.stand_in)
        self._classifier = classifier.to(self._device, element, memory_format=torch.channels_last)
        # A batch is padded to the next of these sizes, so that only a few CUDA graphs are needed.
        self._sizes = usual_sizes(max_batch)
        shape = (max_batch, recipe.height, recipe.width, 3)
        # Images are copied to `_host_batch`, and from there to `_device_batch`.
        self._host_batch = torch.zeros(shape, dtype=torch.uint8, pin_memory=self._is_cuda)
        self._device_batch = self._host_batch.to(self._device) if self._is_cuda else self._host_batch
        # BentoML's development server makes no batches and calls from many threads.
        self._lock = threading.Lock()
        self._graphs = {size: self._capture(size) for size in self._sizes} if self._is_cuda else {}

    def predict(self, images: Images, together: bool = True) -> Probabilities:  # noqa: ARG002 - it has one stream
        most = self._sizes[-1]
        parts = [images[first : first + most] for first in range(0, len(images), most)]
        return np.concatenate([self._predict(part) for part in parts])

    def _predict(self, images: Images) -> Probabilities:
        torch, number = self._torch, len(images)
        size = next(size for size in self._sizes if size >= number)
        with self._lock, torch.inference_mode():
            self._host_batch[:number].copy_(torch.from_numpy(np.ascontiguousarray(images)))
            if self._is_cuda:
                self._device_batch[:size].copy_(self._host_batch[:size], non_blocking=True)
                graph, rows = self._graphs[size]
                graph.replay()
            else:
                rows = self._classifier(self._device_batch[:number]).float()
            # Copying to the CPU waits for everything launched before.
            probabilities: Probabilities = rows[:number].cpu().numpy().copy()
        return probabilities

    def _capture(self, size: int) -> tuple[Any, Any]:
        """Capture the computation of one batch of that size as a CUDA graph.

        The first runs are on a side stream, as https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs says.

        Returns:
            the graph, and the tensor to which it writes the probabilities.
        """
        torch = self._torch
        pixels, side = self._device_batch[:size], torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode():
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    self._classifier(pixels)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                rows = self._classifier(pixels).float()
        return graph, rows
