"""Saves and finds measured choices. A choice is valid for one model, processor and version of the engine.

The file is in the folder of the model. Where that is not writable, as in a container, it is in BentoML's home.
"""

import hashlib
import json
import logging
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from configs.settings import Settings
from model.configuration import Choice, choice_from_json, default_choice
from model.devices import chosen_engine, computes_on_gpu, gpus
from model.store import PreparedModel
from runtime import bentoml_config
from runtime.machine import cores

logger = logging.getLogger("bentoml.classifier")

# Increase it when the measurement, or the decision based on it, changes: older choices are then measured again.
FORMAT = 2
PATTERN = "tuned-*.json"
_FOLDER = "tuned"
_CPUINFO = Path("/proc/cpuinfo")
# The instruction sets that affect the speed or the rounding of a network: prefixes of the processor's flags.
_FLAG_PREFIXES = ("avx", "amx", "fma", "f16c", "sse4", "asimd", "sve", "bf16", "i8mm")


def fingerprint(prepared: PreparedModel, settings: Settings) -> dict[str, Any]:
    """Return what a choice depends on: the choice is valid where all of it is the same."""
    engine = chosen_engine(settings)
    return {
        "format": FORMAT,
        "model": prepared.tag,
        "processor": _processor(),
        "cores": cores(),
        "gpus": gpus() if engine == "torch" else [],
        "engine": engine,
        "versions": {name: _version(name) for name in (engine, "pillow", "cykooz-resizer")},
        "asked for": {"precision": settings.precision, "threads": settings.threads},
    }


def find(prepared: PreparedModel, settings: Settings) -> Choice | None:
    """Find the newest choice for this model on this machine; None where there is none."""
    made_for = fingerprint(prepared, settings)
    found = [choice for path in _places(prepared, made_for) if (choice := _read(path, made_for))]
    return max(found, key=lambda choice: choice.measured_at or "", default=None)


def save(prepared: PreparedModel, settings: Settings, choice: Choice) -> Path | None:
    """Save a measured choice.

    Returns:
        the file; None where neither place is writable.
    """
    made_for = fingerprint(prepared, settings)
    text = json.dumps({"fingerprint": made_for, "choice": json.loads(choice.to_json())}, indent=1)
    for path in _places(prepared, made_for):
        with suppress(OSError):
            _write(path, text)
            return path
    return None


def current(prepared: PreparedModel | None, settings: Settings) -> Choice:
    """Return the choice to serve with: the one that the start passed to its workers, the saved one, or the default.

    Args:
        prepared: the model; None: no saved choice is looked for.
        settings: of this process; `tuned` is what the start passed.
    """
    choice = choice_from_json(settings.tuned) if settings.tuned else None
    if choice is None and prepared is not None and settings.tune == "auto":
        choice = find(prepared, settings)
    if choice is None:
        return default_choice(settings, computes_on_gpu(settings))
    return choice.with_max_batch_size(settings)


def _places(prepared: PreparedModel, made_for: dict[str, Any]) -> Iterator[Path]:
    digest = hashlib.sha256(json.dumps(made_for, sort_keys=True).encode()).hexdigest()[:16]
    yield prepared.folder / PATTERN.replace("*", digest)
    yield bentoml_config.home() / _FOLDER / PATTERN.replace("*", digest)


def _read(path: Path, made_for: dict[str, Any]) -> Choice | None:
    with suppress(OSError, ValueError):
        saved = json.loads(path.read_bytes())
        if isinstance(saved, dict) and saved.get("fingerprint") == made_for:
            return choice_from_json(json.dumps(saved.get("choice")))
    return None


def _write(path: Path, text: str) -> None:
    """Write the whole file or nothing, even while another start writes the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _processor() -> dict[str, str]:
    """Return the processor's name, and those of its flags that matter here."""
    processor = {"name": platform.processor() or platform.machine(), "flags": ""}
    with suppress(OSError):
        lines = (line.partition(":") for line in _CPUINFO.read_text("utf-8", "replace").split("\n\n")[0].splitlines())
        fields = {name.strip().lower(): value.strip() for name, _, value in lines}
        processor["name"] = fields.get("model name", processor["name"])
        # x86 lists "flags", Arm "Features".
        flags = fields.get("flags", fields.get("features", "")).split()
        processor["flags"] = " ".join(sorted(flag for flag in flags if flag.startswith(_FLAG_PREFIXES)))
    return processor


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
