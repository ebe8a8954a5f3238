"""What is served is chosen by measurement: on machines as they may be, with a clock that only engines move."""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest

from model.configuration import MEASURING_S, Choice, Configuration
from model.engine import Images, Probabilities
from model.tune import fidelity, precision_choice, tuning
from model.tune.fidelity import Report
from model.tune.precision_choice import Sample
from model.tune.report import summary, table
from model.tune.trial import COMPARING_S
from model.tune.tuning import choose
from tests.tuning import EDGE, Answers, Machine, float32, not_a_number, off_by, turned

EXACT_S, QUICK_S = 0.004, 0.001
SAMPLE = Sample([b"%d" % number for number in range(fidelity.FEWEST)])


@pytest.fixture
def decoding(monkeypatch: pytest.MonkeyPatch) -> dict[str, Machine]:
    """Where the machine is named whose clock decoding moves; the quick resize is off by one in one value."""
    named: dict[str, Machine] = {}

    def decoded(files: Sequence[bytes], recipe: object, exact: bool) -> Images:
        named["machine"].clock.take(len(files) * (EXACT_S if exact else QUICK_S))
        seeds = [int.from_bytes(file[:8]) for file in files]
        pixels = np.stack([np.random.default_rng(seed).integers(0, 255, (EDGE, EDGE, 3), np.uint8) for seed in seeds])
        pixels[:, 0, 0, 1] = 0 if exact else 1
        return pixels

    monkeypatch.setattr(fidelity, "decode_files", decoded)
    # Real ones, which nothing here decodes, would take most of the time of these tests.
    monkeypatch.setattr(precision_choice, "make_pictures", lambda number: [b"%d" % one for one in range(number)])
    return named


def chosen(
    decoding: dict[str, Machine],
    machine: Machine,
    seconds: float = MEASURING_S,
    comparing_s: float = 0.0,
    **settings: object,
) -> Choice:
    decoding["machine"] = machine
    return choose(machine.trial(seconds, comparing_s, **settings), [SAMPLE])


def test_where_bf16_is_slow_float32_is_served(decoding: dict[str, Machine]) -> None:
    """An Intel Xeon with avx512_bf16 and no AMX."""
    machine = Machine({"f32": 88.0, "bf16": 48.0})
    choice = chosen(decoding, machine)
    assert (choice.configuration.precision, choice.configuration.resize) == ("f32", "exact")
    assert choice.why == "float32: 88 images/s; bf16: 48"


def test_where_bf16_is_fast_and_exact_enough_it_is_served(decoding: dict[str, Machine]) -> None:
    """An AMD Zen 4."""
    choice = chosen(decoding, Machine({"f32": 110.0, "bf16": 200.0}, {"bf16": off_by(0.004)}))
    assert choice.configuration.precision == "bf16"
    assert choice.why == "bf16: 200 images/s; float32: 110"


@pytest.mark.parametrize("answers", [off_by(0.016), off_by(np.inf), turned, not_a_number])
def test_what_is_not_exact_enough_is_never_served_however_fast(decoding: dict[str, Machine], answers: Answers) -> None:
    choice = chosen(decoding, Machine({"f32": 100.0, "bf16": 900.0}, {"bf16": answers}))
    assert choice.configuration.precision == "f32"
    assert "bf16: 900, not exact enough: of " in choice.why


def test_nothing_is_served_that_time_was_too_short_to_compare(decoding: dict[str, Machine]) -> None:
    choice = chosen(decoding, Machine({"f32": 12.0, "bf16": 24.0}))
    assert choice.configuration.precision == "f32"
    assert "too slow to compare" in choice.why
    assert chosen(decoding, Machine({"f32": 12.0, "bf16": 24.0}), seconds=60.0).configuration.precision == "bf16"


def test_where_no_start_waits_a_slow_model_is_compared_too(decoding: dict[str, Machine]) -> None:
    """A ViT-B/16 on two cores of an AMD Zen 5."""
    slow, said = Machine({"f32": 10.0, "bf16": 18.0}, faster=lambda one: 1.0 + 0.2 * (one.streams == 1)), list[str]()
    decoding["machine"] = slow
    trial = replace(slow.trial(comparing_s=COMPARING_S), say=said.append)
    choice = choose(trial, [SAMPLE])
    assert (choice.configuration.precision, choice.why) == ("bf16", "bf16: 18 images/s; float32: 10")
    assert choice.configuration.streams == 1, "there is time for the rest after that, too"
    assert any("takes about 31 s" in line for line in said)
    assert slow.clock() <= MEASURING_S + COMPARING_S
    wrong = Machine({"f32": 10.0, "bf16": 18.0}, {"bf16": turned})
    assert chosen(decoding, wrong, comparing_s=COMPARING_S).configuration.precision == "f32"
    assert wrong.clock() <= MEASURING_S, "it ends with the first images that differ"


def test_a_start_tells_which_command_takes_the_time_that_a_start_has_not(decoding: dict[str, Machine]) -> None:
    slow, said = Machine({"f32": 10.0, "bf16": 18.0}), list[str]()
    decoding["machine"] = slow
    choose(replace(slow.trial(), say=said.append), [SAMPLE])
    assert slow.clock() <= MEASURING_S
    [line] = [line for line in said if "'python -m model.tune --anew --seconds " in line]
    seconds = float(line.partition("--seconds ")[2].partition("'")[0])
    assert chosen(decoding, Machine({"f32": 10.0, "bf16": 18.0}), seconds).configuration.precision == "bf16"


def test_about_as_fast_goes_to_float32(decoding: dict[str, Machine]) -> None:
    # With exact decoding both are about as fast; quick decoding would not make up for it at such a speed.
    choice = chosen(decoding, Machine({"f32": 20.0, "bf16": 20.3}))
    assert choice.configuration.precision == "f32"


def test_precision_and_the_quick_resize_share_one_budget(decoding: dict[str, Machine]) -> None:
    """Each alone would hold the bar; together they miss it."""

    def with_resize(rounding: float, resizing: float) -> Answers:
        def answers(images: Images) -> Probabilities:
            off = rounding + resizing * (images[:, 0, 0, 1] == 1)
            return float32(images) + off[:, np.newaxis].astype(np.float32)

        return answers

    for rounding, resizing, resize in ((0.005, 0.005, "quick"), (0.01, 0.01, "exact"), (0.001, 0.02, "exact")):
        machine = Machine({"f32": 300.0, "bf16": 600.0}, {"bf16": with_resize(rounding, resizing)})
        choice = chosen(decoding, machine)
        assert (choice.configuration.precision, choice.configuration.resize) == ("bf16", resize)
        forced = chosen(decoding, machine, precision="bf16")
        assert (forced.configuration.precision, forced.configuration.resize) == ("bf16", resize)


def test_a_setting_forces_the_precision(decoding: dict[str, Machine]) -> None:
    slow = Machine({"f32": 88.0, "bf16": 48.0}, {"bf16": off_by(0.018)})
    forced = chosen(decoding, slow, precision="bf16")
    assert forced.configuration.precision == "bf16", "what was asked for is served although it is slower"
    assert forced.configuration.resize == "exact", "the quick resize needs the margin"
    assert forced.why == "bf16: 48 images/s; float32: 88; asked for"
    assert chosen(decoding, Machine({"f32": 9.0, "bf16": 90.0}), precision="f32").configuration.precision == "f32"


@pytest.mark.parametrize("answers", [off_by(0.021), turned, not_a_number])
def test_bf16_that_misses_what_is_promised_is_not_served_even_if_asked_for(
    decoding: dict[str, Machine], answers: Answers
) -> None:
    fast = Machine({"f32": 100.0, "bf16": 900.0}, {"bf16": answers})
    asked = chosen(decoding, fast, precision="bf16")
    assert (asked.configuration.precision, asked.configuration.resize) == ("f32", "exact")
    assert asked.why.startswith("float32: 100 images/s; bf16: 900, not exact enough: of ")
    assert asked.why.endswith("; bf16 was asked for")


def test_bf16_that_is_asked_for_is_compared_however_slow_the_model_is(decoding: dict[str, Machine]) -> None:
    large = {"f32": 12.0, "bf16": 24.0}
    assert chosen(decoding, Machine(large), precision="bf16").configuration.precision == "bf16"
    larger = {"f32": 2.0, "bf16": 4.0}
    assert chosen(decoding, Machine(larger), precision="bf16").configuration.precision == "f32"
    assert chosen(decoding, Machine(larger), 300.0, precision="bf16").configuration.precision == "bf16"
    assert chosen(decoding, Machine(large, {"bf16": turned}), precision="bf16").configuration.precision == "f32"


@pytest.mark.parametrize(("same", "resize"), [(1.0, "quick"), (0.99, "exact"), (None, "exact")])
def test_int8_is_resized_quickly_where_the_owners_photographs_allowed_it(
    decoding: dict[str, Machine], same: float | None, resize: str
) -> None:
    known = {"int8": {"quick_resize": asdict(Report(150, same, 0.01, 0.02))} if same else {}}
    machine = Machine({"f32": 100.0, "int8": 300.0}, fidelity=known)
    choice = chosen(decoding, machine, precision="int8")
    assert (choice.configuration.precision, choice.configuration.resize) == ("int8", resize)
    assert choice.why == "int8: 300 images/s; asked for"
    assert chosen(decoding, Machine({"f32": 100.0}, fidelity=known)).configuration.precision == "f32"


def test_on_a_cpu_torch_is_the_reference() -> None:
    import torch

    from model import torch_engine

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert torch_engine.precisions(bf16_is_asked_for=False) == ("f32",)
    assert torch_engine.precisions(bf16_is_asked_for=True) == ("f32", "bf16")


def test_all_samples_have_to_hold(decoding: dict[str, Machine]) -> None:
    """The owner's photographs count beside the pictures that are made."""
    dark = Sample([b"%d" % number for number in range(1000, 1050)], 50)

    def worse_in_some(images: Images) -> Probabilities:
        return float32(images) + np.float32(0.02 if len(images) == 2 else 0.0)

    # (The last block of 50 images has two of them.)
    machine = Machine({"f32": 300.0, "bf16": 600.0}, {"bf16": worse_in_some})
    decoding["machine"] = machine
    assert choose(machine.trial(), [SAMPLE]).configuration.precision == "bf16"
    assert choose(machine.trial(), [SAMPLE, dark]).configuration.precision == "f32"


def test_what_the_machine_does_not_compute_in_is_said(decoding: dict[str, Machine]) -> None:
    without = Machine({"f32": 88.0})
    assert chosen(decoding, without).why == "float32: 88 images/s; this machine does not compute in bf16"
    asked = chosen(decoding, without, precision="bf16")
    assert asked.configuration.precision == "f32"
    assert asked.why == "float32: 88 images/s; bf16 was asked for, which this machine does not compute in"


def faster_with(**wanted: int) -> Machine:
    def faster(configuration: Configuration) -> float:
        return 1.2 if all(getattr(configuration, name) == value for name, value in wanted.items()) else 1.0

    return Machine({"f32": 400.0}, faster=faster)


def test_threads_and_streams_are_the_fastest(decoding: dict[str, Machine]) -> None:
    usual = chosen(decoding, faster_with(threads=99)).configuration
    assert (usual.threads, usual.streams, usual.batch_size) == (4, 4, 4)
    one_stream = chosen(decoding, faster_with(threads=4, streams=1)).configuration
    assert (one_stream.threads, one_stream.streams) == (4, 1)
    half = chosen(decoding, faster_with(threads=2)).configuration
    assert (half.threads, half.streams) == (2, 2)
    forced = chosen(decoding, faster_with(threads=2), threads=4).configuration
    assert forced.threads == 4


@pytest.mark.parametrize(("gain", "size"), [(0.3, 32), (0.001, 4)])
def test_batches_are_as_large_as_pays(decoding: dict[str, Machine], gain: float, size: int) -> None:
    machine = Machine({"f32": 800.0})
    take = machine.clock.take
    # Each batch has a cost of its own.
    machine.clock.take = lambda seconds: take(seconds + gain / 100)  # type: ignore[method-assign]
    assert chosen(decoding, machine).configuration.batch_size == size
    assert chosen(decoding, machine, max_batch_size=5).configuration.batch_size == 5


@pytest.mark.parametrize("per_s", [0.5, 8.0, 100.0, 5000.0])
@pytest.mark.parametrize("threads", [1, 2, 16])
def test_it_takes_no_longer_than_it_may(decoding: dict[str, Machine], per_s: float, threads: int) -> None:
    machine = Machine({"f32": per_s, "bf16": 1.5 * per_s}, threads=threads)
    before = machine.clock()
    assert chosen(decoding, machine).configuration.threads <= threads
    # Of a model that takes two seconds over an image two images of each precision have to be computed, at least.
    assert machine.clock() - before <= (9.0 if per_s > 1 else 14.0)


def test_a_gpu_is_asked_for_its_precision_alone(decoding: dict[str, Machine]) -> None:
    machine = Machine({"f32": 3000.0, "bf16": 9000.0}, is_gpu=True)
    choice = chosen(decoding, machine)
    assert choice.configuration == Configuration("bf16", "quick", 4, 1, 64)
    assert len(machine.loaded) == 2
    inexact = Machine({"f32": 3000.0, "bf16": 9000.0}, {"bf16": turned}, is_gpu=True)
    assert chosen(decoding, inexact).configuration.precision == "f32"


def test_the_table_says_what_was_measured(decoding: dict[str, Machine]) -> None:
    choice = chosen(decoding, Machine({"f32": 150.0, "bf16": 300.0}))
    printed = table(choice)
    assert printed.count("chosen") == 1
    assert "100.0%" in printed
    assert summary(choice).startswith("bf16, quick resize, 4 threads, 4 streams, batches of 4 (bf16: 300 images/s; ")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_a_time_in_which_nothing_is_measured_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        tuning.main(["--anew", "--seconds", seconds])
    assert ended.value.code == 2
    assert "give a number of seconds above 0" in capsys.readouterr().err
