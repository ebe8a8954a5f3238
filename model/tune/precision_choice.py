"""Chooses precision and resize: measures the speed of each pair, and takes the fastest that is accurate enough."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from model.configuration import MEASURING_S, Configuration, Precision, Resize, Row
from model.tune import fidelity
from model.tune.fidelity import REQUIRED, REQUIRED_WITH_MARGIN, Float32Reference, Report
from model.tune.pictures import make_pictures
from model.tune.speed import Load, Timer, best_rounds, min_seconds
from model.tune.trial import COMPARING_S, EQUAL_WITHIN, PRECISION_NAMES, Trial

# Shares of the time: for measuring speeds, and reserved for choosing threads, streams and batches afterwards.
SPEED_SHARE, RESERVED_SHARE = 0.2, 0.2
# The longest time for one batch while speeds are measured, in seconds; larger batches do not make a slow model faster.
BATCH_S = 0.2
# A comparison that takes longer is announced, in seconds.
ANNOUNCED_S = 5.0
_RESIZES: tuple[Resize, ...] = ("exact", "quick")


@dataclass(frozen=True)
class Sample:
    """Images to compare answers on.

    Attributes:
        files: the images, as files.
        fewest: the number of images needed for a result.
    """

    files: Iterable[bytes]
    fewest: int = fidelity.FEWEST


def generated_sample() -> Sample:
    """Make a sample of generated pictures."""
    return Sample(make_pictures(fidelity.FEWEST))


def choose_precision(trial: Trial, samples: Sequence[Sample]) -> tuple[Configuration, str]:
    """Choose precision and resize.

    Args:
        trial: the run of measurements, which keeps what is measured.
        samples: images to compare answers on; a configuration must be accurate enough on each sample.

    Returns:
        the default configuration with that precision and resize, and the reason in one line.
    """
    candidates = _candidates(trial)
    speeds = _measure_speeds(trial, list(dict.fromkeys(candidate.precision for candidate in candidates)))
    chosen, rejected = candidates[0], dict[Precision, str]()
    if len(candidates) > 1:
        longer_s = max(trial.comparing_s, COMPARING_S if trial.settings.precision == "bf16" else 0.0)
        usual_s = trial.timer.left_s - RESERVED_SHARE * trial.timer.seconds
        timer = Timer(max(usual_s, longer_s), trial.timer.clock)
        chosen, rejected = _fastest_accurate(trial, candidates, speeds, samples, timer)
        if longer_s:
            trial.timer.extend_to(trial.timer.seconds / 2)
    return chosen, _explain(trial, chosen, speeds, rejected)


def _candidates(trial: Trial) -> list[Configuration]:
    """Return the configurations to compare, the most exact first. The first is accepted without a comparison."""
    wanted, precisions = trial.settings.precision, trial.device.precisions
    if wanted in ("f32", "int8"):
        precisions = (wanted,)
    return [
        replace(trial.device.default, precision=precision, resize=resize)
        for precision in precisions
        # The contract promises the reference's answers to 1e-4 in float32, and the quick resize differs by more.
        for resize in _RESIZES[: 1 if precision == "f32" else 2]
    ]


def _measure_speeds(trial: Trial, precisions: Sequence[Precision]) -> dict[Precision, float]:
    """Measure images per second of each precision, otherwise in the default configuration."""
    trial.say(f"Measuring {' and '.join(PRECISION_NAMES[precision] for precision in precisions)} ...")
    one, seconds = trial.images(1), SPEED_SHARE * trial.timer.seconds
    single_loads = {precision: Load(trial.engine(precision), one, together=True) for precision in precisions}
    alone = best_rounds(single_loads, trial.timer.part(seconds / 2))
    size = trial.device.default.batch_size
    if not trial.device.is_gpu:
        size = max(1, min(size, int(BATCH_S * max(alone.values()))))
    speeds, batch = alone, trial.images(size)
    images = size * trial.device.default.streams
    if sum(min_seconds(images, per_s) for per_s in alone.values()) < trial.timer.left_s / 2:
        loads = {precision: Load(trial.engine(precision), batch) for precision in precisions}
        speeds = best_rounds(loads, trial.timer.part(seconds))
    for precision in precisions:
        trial.record(Row(replace(trial.device.default, precision=precision), speeds[precision], alone[precision]))
    return speeds


def _fastest_accurate(
    trial: Trial,
    candidates: Sequence[Configuration],
    speeds: Mapping[Precision, float],
    samples: Sequence[Sample],
    timer: Timer,
) -> tuple[Configuration, dict[Precision, str]]:
    """Return the fastest configuration that is accurate enough, and why each faster precision was rejected."""
    rejected: dict[Precision, str] = {}
    asked = trial.settings.precision
    rates = _rates_with_decoding(trial, candidates, speeds)
    references = [
        Float32Reference(
            lambda pixels: trial.engine("f32").predict(pixels), one.files, trial.prepared.recipe, one.fewest
        )
        for one in samples
    ]
    for candidate in sorted(candidates[1:], key=lambda candidate: -rates[candidate]):
        if not _is_faster(candidate, candidates[0], asked, rates):
            continue
        has_time = candidate.precision == "int8" or _has_time(trial, candidate, references, speeds, timer)
        # Only what was asked for may use all that the contract allows.
        required = REQUIRED if (candidate.precision, candidate.resize) == (asked, "exact") else REQUIRED_WITH_MARGIN
        report = _compare(trial, candidate, references, required, timer) if has_time else None
        is_accurate = report is not None and report.meets(required)
        verdict = _verdict(report, is_accurate)
        same_top1, largest = (report.same_top1, report.largest) if report else (None, None)
        trial.record(Row(candidate, speeds[candidate.precision], None, same_top1, largest, verdict))
        if is_accurate:
            return candidate, rejected
        rejected[candidate.precision] = verdict
    return candidates[0], rejected


def _is_faster(
    candidate: Configuration, most_exact: Configuration, asked: str, rates: Mapping[Configuration, float]
) -> bool:
    """Return whether a configuration is faster than what would be served instead.

    That is the same precision with the exact resize, and the most exact configuration, unless the precision was asked
    for.
    """
    instead = rates[replace(candidate, resize="exact")] if candidate.resize == "quick" else 0.0
    if candidate.precision != asked:
        instead = max(instead, rates[most_exact])
    return rates[candidate] > (1 + EQUAL_WITHIN) * instead


def _verdict(report: Report | None, is_accurate: bool) -> str:
    if report is None:
        return "too slow to compare its answers in the time there was"
    return "answers as float32 does" if is_accurate else f"not exact enough: {report}"


def _has_time(
    trial: Trial,
    candidate: Configuration,
    references: Iterable[Float32Reference],
    speeds: Mapping[Precision, float],
    timer: Timer,
) -> bool:
    """Tell whether there is time to compare the answers of that configuration. Long comparisons are announced."""
    per_image = 1 / speeds[candidate.precision]
    exact = 1 / speeds.get("f32", speeds[candidate.precision])
    seconds = sum(one.fewest * (per_image + (0 if one.is_started else exact)) for one in references)
    name = PRECISION_NAMES[candidate.precision]
    if seconds >= timer.left_s:
        all_s = (seconds + MEASURING_S) / (1 - RESERVED_SHARE)
        trial.say(
            f"Comparing the answers of {name} takes about {seconds:.0f} s, longer than there is now; "
            f"'python -m model.tune --anew --seconds {all_s:.0f}' takes the time."
        )
    elif seconds >= ANNOUNCED_S:
        trial.say(f"{name} is {speeds[candidate.precision] * exact:.1f} times as fast as float32.")
        trial.say(f"To know whether its answers are close enough takes about {seconds:.0f} s.")
    return seconds < timer.left_s


def _rates_with_decoding(
    trial: Trial, candidates: Iterable[Configuration], speeds: Mapping[Precision, float]
) -> dict[Configuration, float]:
    """Return images per second of each configuration, with decoding."""
    files, decoding_s = list(make_pictures(4)), {}
    for resize in _RESIZES:
        # The first run is slower, since tables and buffers are made.
        for _ in range(2):
            started = trial.timer.clock()
            fidelity.decode_files(files, trial.prepared.recipe, exact=resize == "exact")
            decoding_s[resize] = (trial.timer.clock() - started) / len(files) / trial.device.default.threads
    rates = {}
    for one in candidates:
        computing_s = 1 / speeds[one.precision]
        # On a GPU the CPU decodes at the same time; on a CPU both share its time.
        is_gpu = trial.device.is_gpu
        rates[one] = 1 / (max(computing_s, decoding_s[one.resize]) if is_gpu else computing_s + decoding_s[one.resize])
    return rates


def _compare(
    trial: Trial, candidate: Configuration, references: Sequence[Float32Reference], required: Report, timer: Timer
) -> Report | None:
    """Compare the answers on each sample until one fails. Returns the last result; None: the time was too short."""
    if candidate.precision == "int8":
        # It was compared on the operator's photographs when it was quantised; generated pictures would show no more.
        stored = trial.prepared.manifest.fidelity.get("int8", {}).get("quick_resize")
        return Report(**stored) if stored else None
    trial.say(f"Comparing the answers of {PRECISION_NAMES[candidate.precision]} with the {candidate.resize} resize ...")
    predict, report = trial.engine(candidate.precision).predict, None
    for reference in references:
        report = fidelity.compare(reference, predict, candidate.resize == "quick", timer, required)
        if report is None or not report.meets(required):
            break
    return report


def _explain(
    trial: Trial, chosen: Configuration, speeds: Mapping[Precision, float], rejected: Mapping[Precision, str]
) -> str:
    """Return the reason for the choice in one line: the speeds, what was rejected, and what the settings ask for."""
    wanted = trial.settings.precision
    parts = [f"{PRECISION_NAMES[chosen.precision]}: {speeds[chosen.precision]:.0f} images/s"]
    for precision, per_s in speeds.items():
        if precision != chosen.precision:
            speed = f"{PRECISION_NAMES[precision]}: {per_s:.0f}"
            parts.append(f"{speed}, {rejected[precision]}" if precision in rejected else speed)
    if wanted == chosen.precision:
        parts.append("asked for")
    elif wanted in speeds:
        parts.append(f"{PRECISION_NAMES[wanted]} was asked for")
    elif wanted != "auto":
        parts.append(f"{PRECISION_NAMES[wanted]} was asked for, which this machine does not compute in")
    elif len(speeds) == 1:
        parts.append("this machine does not compute in bf16")
    return "; ".join(parts)
