"""bf16 on any processor, imitated: it is served only where it answers as float32 does for the model."""

import hashlib
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13

from model import store
from model.engine import Images, Probabilities
from model.openvino_engine import OpenVinoEngine
from model.store import PreparedModel
from model.tune.precision_choice import Sample, generated_sample
from model.tune.tuning import choose
from testing.imitated_bf16 import ImitatedBf16
from tests.tuning import EDGE, Answers, Machine

FASTER = {"f32": 100.0, "bf16": 200.0}


@pytest.fixture(scope="module")
def ready(model_store: Path) -> PreparedModel:
    [folder] = model_store.glob("efficientnet*/*-*")
    return store.open_folder("it:1", folder)


@pytest.fixture(scope="module")
def sample() -> Sample:
    """The pictures that a start compares answers on, made once."""
    return Sample(list(generated_sample().files))


def remembered(answers: Answers) -> Answers:
    """Give an answer that was given before without computing it again."""
    known: dict[bytes, Probabilities] = {}

    def answer(images: Images) -> Probabilities:
        key = hashlib.sha256(images.tobytes()).digest()
        if key not in known:
            known[key] = answers(images)
        return known[key]

    return answer


def red_or_green(path: Path) -> Path:
    """Save a network with two labels, whose confidences depend on how much redder than green an image is."""
    pixels = opset13.parameter([-1, EDGE, EDGE, 3], np.uint8)
    planes = opset13.transpose(opset13.convert(pixels, np.float32), [0, 3, 1, 2])
    weights = np.array([[1.0], [-1.0], [0.0]], np.float32).reshape(1, 3, 1, 1)
    difference = opset13.convolution(planes, opset13.constant(weights), [1, 1], [0, 0], [0, 0], [1, 1])
    mean = opset13.reduce_mean(difference, opset13.constant([2, 3]))
    logits = opset13.matmul(mean, opset13.constant(np.array([[0.1, -0.1]], np.float32)), False, False)
    openvino.save_model(openvino.Model([opset13.softmax(logits, 1)], [pixels]), path, compress_to_fp16=False)
    return path


def test_weights_and_each_stored_result_are_rounded_once(tmp_path: Path) -> None:
    """A convolution with its bias and ReLU is one step, the matrix product with its bias another; softmax is exact."""
    import torch

    def bf16(values: torch.Tensor) -> torch.Tensor:
        return values.bfloat16().float()

    random = np.random.default_rng(16)
    kernel, bias, matrix, last = (
        random.normal(size=shape).astype(np.float32) for shape in ((4, 3, 3, 3), (1, 4, 1, 1), (4 * 14 * 14, 5), (1, 5))
    )
    images = random.integers(0, 256, (20, EDGE, EDGE, 3), np.uint8)
    pixels = opset13.parameter([-1, EDGE, EDGE, 3], np.uint8)
    scaled = opset13.multiply(opset13.convert(pixels, np.float32), np.float32(1 / 255))
    planes = opset13.transpose(scaled, [0, 3, 1, 2])
    matrix *= np.float32(0.02)
    layer = opset13.convolution(planes, opset13.constant(kernel), [1, 1], [0, 0], [0, 0], [1, 1])
    active = opset13.relu(opset13.add(layer, opset13.constant(bias)))
    flat = opset13.reshape(active, [0, -1], True)
    logits = opset13.add(opset13.matmul(flat, opset13.constant(matrix), False, False), opset13.constant(last))
    graph = tmp_path / "it.xml"
    openvino.save_model(openvino.Model([opset13.softmax(logits, 1)], [pixels]), graph, compress_to_fp16=False)

    inputs = bf16(torch.from_numpy(images).float() * np.float32(1 / 255)).permute(0, 3, 1, 2)
    ours = torch.nn.functional.conv2d(inputs, bf16(torch.from_numpy(kernel))) + torch.from_numpy(bias)
    ours = bf16(ours.relu()).flatten(1) @ bf16(torch.from_numpy(matrix)) + torch.from_numpy(last)
    expected = bf16(ours).softmax(1).numpy()
    rounded, exact = ImitatedBf16(graph).predict(images), OpenVinoEngine(graph, "f32").predict(images)
    # Sums in another order may round the other way, once in a while.
    assert np.median(np.abs(rounded - expected).max(1)) < 1e-5
    assert np.median(np.abs(exact - expected).max(1)) > 1e-4


def test_auto_serves_the_stand_in_in_float32_however_fast_bf16_is(ready: PreparedModel, sample: Sample) -> None:
    graph = ready.folder / store.GRAPH
    exact, rounded = OpenVinoEngine(graph, "f32"), ImitatedBf16(graph)
    # What is asked for does not change the answers.
    machine = Machine(FASTER, {"f32": remembered(exact.predict), "bf16": remembered(rounded.predict)})
    for asked in ("auto", "bf16"):
        trial = machine.trial(precision=asked)
        trial.prepared = ready
        choice = choose(trial, [sample])
        assert (choice.configuration.precision, choice.configuration.resize) == ("f32", "exact")
        assert "bf16: 200, not exact enough: of " in choice.why


def test_auto_serves_bf16_where_it_is_faster_and_answers_alike(tmp_path: Path, sample: Sample) -> None:
    graph = red_or_green(tmp_path / "it.xml")
    exact, rounded = OpenVinoEngine(graph, "f32"), ImitatedBf16(graph)
    machine = Machine(FASTER, {"f32": exact.predict, "bf16": rounded.predict})
    choice = choose(machine.trial(), [sample])
    assert choice.configuration.precision == "bf16"
    row = next(row for row in choice.table if row.largest is not None)
    assert row.same_top1 == 1.0
    assert row.largest is not None
    assert 0 < row.largest < 0.005, "it was rounded"
    slower = Machine({"f32": 100.0, "bf16": 90.0}, machine.answers)
    assert choose(slower.trial(), [sample]).configuration.precision == "f32"
