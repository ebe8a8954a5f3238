"""The engine on CUDA: the checkpoint in torch. On a CPU the same is the reference."""

import threading
from typing import Any

import numpy as np

from model.configuration import Precision
from model.engine import Images, Probabilities
from model.store import CHECKPOINT, PreparedModel

WARM_UPS = 3


def precisions(bf16_is_asked_for: bool) -> tuple[Precision, ...]:
    """What is worth trying here, the most exact first. On a CPU torch is the reference: float32 unless asked."""
    import torch

    is_native = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return ("f32", "bf16") if is_native or bf16_is_asked_for else ("f32",)


class TorchEngine:
    """A classifier in torch: channels last, in half precision where that is chosen, a recorded run for each batch size.

    On CUDA images go through pinned memory, so that copying them needs no other copy, and each size of batch is
    recorded once as a CUDA graph, so that a batch costs one launch instead of one for each layer.
    """

    name = "torch"
    streams = 1

    def __init__(self, prepared: PreparedModel, precision: str, max_batch: int) -> None:
        """
        Args:
            prepared: the model.
            precision: `f32` or `bf16`.
            max_batch: images that are computed at a time.
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
        # Batches are filled up to one of these: a GPU is prepared for a few shapes, not for all.
        self._sizes = [*(2**power for power in range((max_batch - 1).bit_length())), max_batch]
        shape = (max_batch, recipe.height, recipe.width, 3)
        # Where images are put before they go to the device, and where they are there.
        self._staged = torch.zeros(shape, dtype=torch.uint8, pin_memory=self._is_cuda)
        self._pixels = self._staged.to(self._device) if self._is_cuda else self._staged
        # BentoML's development server, which makes no batches, calls from many threads.
        self._one_at_a_time = threading.Lock()
        self._recorded = {size: self._record(size) for size in self._sizes} if self._is_cuda else {}

    def predict(self, images: Images, together: bool = True) -> Probabilities:  # noqa: ARG002 - it has one stream
        most = self._sizes[-1]
        parts = [images[first : first + most] for first in range(0, len(images), most)]
        return np.concatenate([self._predict(part) for part in parts])

    def _predict(self, images: Images) -> Probabilities:
        torch, number = self._torch, len(images)
        size = next(size for size in self._sizes if size >= number)
        with self._one_at_a_time, torch.inference_mode():
            self._staged[:number].copy_(torch.from_numpy(np.ascontiguousarray(images)))
            if self._is_cuda:
                self._pixels[:size].copy_(self._staged[:size], non_blocking=True)
                graph, rows = self._recorded[size]
                graph.replay()
            else:
                rows = self._classifier(self._pixels[:number]).float()
            # Copying to the CPU waits for all that was launched before.
            probabilities: Probabilities = rows[:number].cpu().numpy().copy()
        return probabilities

    def _record(self, size: int) -> tuple[Any, Any]:
        """A CUDA graph of one batch of that size, and the tensor in which it leaves its probabilities.

        As https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs has it: some runs on a side stream first.
        """
        torch = self._torch
        pixels, side = self._pixels[:size], torch.cuda.Stream()
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
