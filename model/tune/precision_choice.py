"""The precision to compute in, and how to resize: the fastest of those that answer as float32 does, by measurement."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from model.configuration import Configuration, Precision, Resize, Row
from model.tune import fidelity
from model.tune.fidelity import BAR_WITH_ROOM, Reference, Report
from model.tune.pictures import pictures
from model.tune.speed import Load, Timer, fastest_rounds, least_s
from model.tune.trial import CLOSE, NAMES, Trial

# The shares of the time that may go by with speeds, and what comparing answers has to leave for what follows.
SPEED_SHARE, REST_SHARE = 0.2, 0.2
# How long one batch may take while speeds are measured; a slow model is not faster in a larger one.
BATCH_S = 0.2
_RESIZES: tuple[Resize, ...] = ("exact", "quick")


@dataclass(frozen=True)
class Sample:
    """Images to compare answers on, as files, and the fewest of them that show anything."""

    files: Iterable[bytes]
    fewest: int = fidelity.FEWEST


def made_sample() -> Sample:
    """Pictures that are made on the spot."""
    return Sample(pictures(fidelity.FEWEST))


def choose_precision(trial: Trial, samples: Sequence[Sample]) -> tuple[Configuration, str]:
    """The configuration to begin with, in the precision and with the resize to take; and why, in one line."""
    ways = _ways(trial)
    speeds = _speeds(trial, list(dict.fromkeys(way.precision for way in ways)))
    chosen, against = ways[0], dict[Precision, str]()
    if len(ways) > 1:
        chosen, against = _fastest_exact_enough(trial, ways, speeds, samples)
    return chosen, _why(trial, chosen, speeds, against)


def _ways(trial: Trial) -> list[Configuration]:
    """The ways to compute that come into question, the most exact first. The first is taken without a check."""
    asked, precisions = trial.settings.precision, trial.device.precisions
    if asked != "auto":
        precisions = (asked if asked == "int8" or asked in precisions else "f32",)
    return [
        replace(trial.device.default, precision=precision, resize=resize)
        for precision in precisions
        # Float32 promises the reference's answers to four decimals, which the quick resize misses.
        for resize in _RESIZES[: 1 if precision == "f32" else 2]
    ]


def _speeds(trial: Trial, precisions: Sequence[Precision]) -> dict[Precision, float]:
    """Images a second of each precision, in the configuration to begin with."""
    trial.say(f"Measuring {' and '.join(NAMES[precision] for precision in precisions)} ...")
    one, seconds = trial.images(1), SPEED_SHARE * trial.timer.seconds
    lone_loads = {precision: Load(trial.engine(precision), one, together=True) for precision in precisions}
    alone = fastest_rounds(lone_loads, trial.timer.part(seconds / 2))
    size = trial.device.default.batch_size
    if not trial.device.is_gpu:
        size = max(1, min(size, int(BATCH_S * max(alone.values()))))
    speeds, batch = alone, trial.images(size)
    images = size * trial.device.default.streams
    if sum(least_s(images, per_s) for per_s in alone.values()) < trial.timer.left_s / 2:
        loads = {precision: Load(trial.engine(precision), batch) for precision in precisions}
        speeds = fastest_rounds(loads, trial.timer.part(seconds))
    for precision in precisions:
        trial.record(Row(replace(trial.device.default, precision=precision), speeds[precision], alone[precision]))
    return speeds


def _fastest_exact_enough(
    trial: Trial, ways: Sequence[Configuration], speeds: Mapping[Precision, float], samples: Sequence[Sample]
) -> tuple[Configuration, dict[Precision, str]]:
    """The way to take, and what speaks against those that are faster."""
    against: dict[Precision, str] = {}
    rates = _rates(trial, ways, speeds)
    references = [
        (Reference(lambda pixels: trial.engine("f32").predict(pixels), one.files, trial.prepared.recipe), one.fewest)
        for one in samples
    ]
    timer = trial.timer.part(trial.timer.left_s - REST_SHARE * trial.timer.seconds)
    for way in sorted(ways[1:], key=lambda way: -rates[way]):
        more_exact = [rates[ways[0]], rates[replace(way, resize="exact")] if way.resize == "quick" else 0.0]
        if rates[way] <= (1 + CLOSE) * max(more_exact):
            continue
        has_time = way.precision == "int8" or _least_s(way, references, speeds) < timer.left_s
        report = _report(trial, way, references, timer) if has_time else None
        is_enough = report is not None and report.holds(BAR_WITH_ROOM)
        if is_enough:
            verdict = "answers as float32 does"
        elif report is not None:
            verdict = f"not exact enough: {report}"
        else:
            verdict = "too slow to compare its answers in the time there was"
        kept, largest = (report.same_top1, report.largest) if report else (None, None)
        trial.record(Row(way, speeds[way.precision], None, kept, largest, verdict))
        if is_enough:
            return way, against
        against[way.precision] = verdict
    return ways[0], against


def _least_s(
    way: Configuration, references: Iterable[tuple[Reference, int]], speeds: Mapping[Precision, float]
) -> float:
    """The seconds that comparing the answers of that way takes at least."""
    per_image = 1 / speeds[way.precision]
    exact = 1 / speeds.get("f32", speeds[way.precision])
    return sum(fewest * (per_image + (0 if reference.is_begun else exact)) for reference, fewest in references)


def _rates(
    trial: Trial, ways: Iterable[Configuration], speeds: Mapping[Precision, float]
) -> dict[Configuration, float]:
    """Images a second of each way, decoding included."""
    files, took_s = list(pictures(4)), {}
    for resize in _RESIZES:
        # The first time includes what is made once.
        for _ in range(2):
            started = trial.timer.clock()
            fidelity.decoded(files, trial.prepared.recipe, exact=resize == "exact")
            took_s[resize] = (trial.timer.clock() - started) / len(files) / trial.device.default.threads
    if trial.device.is_gpu:
        return {way: 1 / max(1 / speeds[way.precision], took_s[way.resize]) for way in ways}
    return {way: 1 / (1 / speeds[way.precision] + took_s[way.resize]) for way in ways}


def _report(
    trial: Trial, way: Configuration, references: Sequence[tuple[Reference, int]], timer: Timer
) -> Report | None:
    """How the answers of that way differ: on the first sample that it fails, or on the last. None: no time to tell."""
    if way.precision == "int8":
        # On photographs of the owner's, when it was made; nothing here shows more.
        kept = trial.prepared.manifest.fidelity.get("int8", {}).get("quick_resize")
        return Report(**kept) if kept else None
    trial.say(f"Comparing the answers of {NAMES[way.precision]} with the {way.resize} resize ...")
    predict, report = trial.engine(way.precision).predict, None
    for reference, fewest in references:
        report = fidelity.compare(reference, predict, way.resize == "quick", timer, fewest)
        if report is None or not report.holds(BAR_WITH_ROOM):
            break
    return report


def _why(
    trial: Trial, chosen: Configuration, speeds: Mapping[Precision, float], against: Mapping[Precision, str]
) -> str:
    asked, told = trial.settings.precision, [f"{NAMES[chosen.precision]}: {speeds[chosen.precision]:.0f} images/s"]
    for precision, per_s in speeds.items():
        if precision != chosen.precision:
            told.append(", ".join(filter(None, [f"{NAMES[precision]}: {per_s:.0f}", against.get(precision)])))
    if asked == chosen.precision:
        told.append("asked for")
    elif asked != "auto":
        told.append(f"{NAMES[asked]} was asked for, which this machine does not compute in")
    elif len(speeds) == 1:
        told.append("this machine does not compute in bf16")
    return "; ".join(told)
