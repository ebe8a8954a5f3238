"""Converts a classifier in torch to an OpenVINO graph."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.recipe import Recipe


def convert(classifier: nn.Module, recipe: Recipe) -> Any:
    """Convert a classifier that takes uint8, batch x height x width x 3, to a graph.

    Args:
        classifier: see `checkpoint/classifier.py`.
        recipe: gives height and width; the size of the batch stays open.
    """
    # OpenVINO's converter sends usage data to its maker; without this package it uses a stub that sends nothing.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.zeros(2, recipe.height, recipe.width, 3, dtype=torch.uint8)
    # torch would trace the classifier twice, to compare: here the graph is compared with the reference (comparison.py).
    traced = TorchScriptPythonDecoder(classifier, example_input=example, trace_kwargs={"check_trace": False})
    return openvino.convert_model(
        traced, example_input=example, input=[([-1, recipe.height, recipe.width, 3], openvino.Type.u8)]
    )


def save(graph: Any, path: Path) -> None:
    """Save a graph in float32 at that path, which ends in `.xml`; the weights go to a `.bin` file beside it."""
    import openvino

    openvino.save_model(graph, path, compress_to_fp16=False)


def make_convertible(module: nn.Module) -> None:
    """Replace the layers that OpenVINO can't convert by layers that compute the same, in place."""
    for name, child in module.named_children():
        pools = isinstance(child, (nn.AvgPool2d, nn.MaxPool2d)) and child.ceil_mode and child.padding == 0
        if pools and isinstance(child.kernel_size, int):
            setattr(module, name, _GlobalPool(child))
        else:
            make_convertible(child)


class _GlobalPool(nn.Module):
    """Pools over the whole plane where the window covers it, as EfficientNet does with a window of 2560 pixels."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, planes: Tensor) -> Tensor:
        if max(planes.shape[2:]) > self.pool.kernel_size:
            return self.pool(planes)
        if isinstance(self.pool, nn.MaxPool2d):
            return planes.amax((2, 3), keepdim=True)
        return planes.mean((2, 3), keepdim=True)
