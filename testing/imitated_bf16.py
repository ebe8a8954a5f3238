"""Imitates bf16 as OpenVINO computes it, for processors that have none.

OpenVINO's plugin for CPUs keeps tensors and the weights of convolutions and matrix products in bf16, and adds up in
float32. It joins a layer with the element-wise operations after it, and rounds their result once. What follows the last
layer, such as softmax, stays in float32. The graph made here computes in float32, and rounds at the same places.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13

from model.openvino_engine import OpenVinoEngine

_LAYERS = frozenset({"Convolution", "GroupConvolution", "MatMul"})
# Operations that only move values.
_MOVES = frozenset(
    [
        "Concat",
        "Gather",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "StridedSlice",
        "Transpose",
        "Unsqueeze",
        "VariadicSplit",
    ]
)
# Operations that are joined with the operation before them.
_ELEMENTWISE = frozenset(
    [
        "Add",
        "Clamp",
        "Divide",
        "Elu",
        "Gelu",
        "HSwish",
        "HardSigmoid",
        "Multiply",
        "PRelu",
        "Relu",
        "Sigmoid",
        "Subtract",
        "Swish",
        "Tanh",
    ]
)
# Divides the 24 bits of a float32 into the 8 that bf16 has and the rest (Veltkamp's method).
_SPLIT = np.float32(2**16 + 1)


class ImitatedBf16(OpenVinoEngine):
    """Answers as OpenVINO does in bf16, but slowly."""

    def __init__(self, graph: Path) -> None:
        """
        Args:
            graph: the file of the OpenVINO graph.
        """
        with tempfile.TemporaryDirectory() as folder:
            super().__init__(_imitate(graph, Path(folder)), "f32")
        self.precision = "bf16"


def _imitate(graph: Path, folder: Path) -> Path:
    """Write a graph that rounds as bf16 does to a folder, and return its file."""
    model = openvino.Core().read_model(graph)
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() not in ("Constant", "Parameter")]
    places = {node.get_friendly_name(): place for place, node in enumerate(nodes)}
    layers = [node for node in nodes if node.get_type_name() in _LAYERS]
    in_bf16 = _with_all_before(layers)
    stored = []
    for node in nodes:
        if node.get_friendly_name() in in_bf16:
            joined = _joined(node, places)
            if joined is not None:
                in_bf16.add(joined.get_friendly_name())
            elif node.get_type_name() not in _MOVES and node.get_output_element_type(0) == openvino.Type.f32:
                stored.append(node)
    for node in stored:
        _round(node.output(0), node.output(0).get_target_inputs())
    for layer in layers:
        if layer.get_friendly_name() in in_bf16:
            _round(layer.input_value(1), [layer.input(1)])
    openvino.save_model(model, folder / "openvino.xml", compress_to_fp16=False)
    return folder / "openvino.xml"


def _sources(node: Any) -> list[Any]:
    """Return the nodes whose values a node takes, without constants."""
    found = [one.get_node() for one in node.input_values()]
    return [one for one in found if one.get_type_name() not in ("Constant", "Parameter")]


def _with_all_before(nodes: Iterable[Any]) -> set[str]:
    """Return the names of the nodes and of all that their values come from."""
    names, left = set[str](), list(nodes)
    while left:
        node = left.pop()
        if node.get_friendly_name() not in names:
            names.add(node.get_friendly_name())
            left += _sources(node)
    return names


def _joined(node: Any, places: dict[str, int]) -> Any | None:
    """Return the operation that is computed together with a node, so that what is between them is not rounded."""
    consumers = [one.get_node() for one in node.output(0).get_target_inputs()]
    if node.get_type_name() not in _LAYERS | _ELEMENTWISE or len(consumers) != 1:
        return None
    if consumers[0].get_type_name() not in _ELEMENTWISE:
        return None
    # Of two values that are added up the one that is computed first is stored.
    names = [one.get_friendly_name() for one in _sources(consumers[0])]
    return consumers[0] if max(names, key=places.__getitem__) == node.get_friendly_name() else None


def _round(value: Any, inputs: Iterable[Any]) -> None:
    """Round a value to bf16 for these inputs."""
    large = opset13.multiply(value, opset13.constant(_SPLIT))
    high = opset13.subtract(large, opset13.subtract(large, value))
    for one in list(inputs):
        one.replace_source_output(high.output(0))
