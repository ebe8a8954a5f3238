"""Choices that were measured, kept with what they hold for: this model, this processor, this version of OpenVINO.

They lie beside the model, or, where its folder can't be written to, as in a container, in BentoML's home.
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
from model.devices import chosen_engine, gpus, has_cuda
from model.store import PreparedModel
from runtime import bentoml_config
from runtime.machine import cores

logger = logging.getLogger("bentoml.classifier")

# Raised whenever what is measured, or how it is decided, changes: what was chosen before is then measured anew.
FORMAT = 1
PATTERN = "tuned-*.json"
_FOLDER = "tuned"
_CPUINFO = Path("/proc/cpuinfo")
# Of what a processor can do, that on which the speed and the sums of a network depend.
_FLAGS = ("avx", "amx", "fma", "f16c", "sse4", "asimd", "sve", "bf16", "i8mm")


def fingerprint(prepared: PreparedModel, settings: Settings) -> dict[str, Any]:
    """What a choice holds for."""
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
    """What was chosen last for this model on this machine; None where that was not measured yet."""
    made_for = fingerprint(prepared, settings)
    found = [choice for path in _places(prepared, made_for) if (choice := _read(path, made_for))]
    return max(found, key=lambda choice: choice.measured_at or "", default=None)


def keep(prepared: PreparedModel, settings: Settings, choice: Choice) -> Path | None:
    """Keep what was measured; where. None: there is no place that can be written to."""
    made_for = fingerprint(prepared, settings)
    text = json.dumps({"fingerprint": made_for, "choice": json.loads(choice.to_json())}, indent=1)
    for path in _places(prepared, made_for):
        with suppress(OSError):
            _write(path, text)
            return path
    return None


def current(prepared: PreparedModel | None, settings: Settings) -> Choice:
    """What to serve with: what the start told its workers, else what is kept, else what needs no measuring."""
    choice = choice_from_json(settings.tuned) if settings.tuned else None
    if choice is None and prepared is not None and settings.tune == "auto":
        choice = find(prepared, settings)
    if choice is None:
        return default_choice(settings, chosen_engine(settings) == "torch" and has_cuda())
    return choice.as_asked(settings)


def _places(prepared: PreparedModel, made_for: dict[str, Any]) -> Iterator[Path]:
    digest = hashlib.sha256(json.dumps(made_for, sort_keys=True).encode()).hexdigest()[:16]
    yield prepared.folder / PATTERN.replace("*", digest)
    yield bentoml_config.home() / _FOLDER / PATTERN.replace("*", digest)


def _read(path: Path, made_for: dict[str, Any]) -> Choice | None:
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_bytes())
        if isinstance(kept, dict) and kept.get("fingerprint") == made_for:
            return choice_from_json(json.dumps(kept.get("choice")))
    return None


def _write(path: Path, text: str) -> None:
    """Write the file as a whole or not at all, also where another start writes it just now."""
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
    """Its name, and what it can do."""
    told = {"name": platform.processor() or platform.machine(), "flags": ""}
    with suppress(OSError):
        lines = (line.partition(":") for line in _CPUINFO.read_text("utf-8", "replace").split("\n\n")[0].splitlines())
        said = {name.strip().lower(): value.strip() for name, _, value in lines}
        told["name"] = said.get("model name", told["name"])
        flags = said.get("flags", said.get("features", "")).split()
        told["flags"] = " ".join(sorted(flag for flag in flags if flag.startswith(_FLAGS)))
    return told


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
