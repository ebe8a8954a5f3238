"""Checks the files of a checkpoint before a library reads them, so that an error names the file and the reason."""

import json
from pathlib import Path
from typing import Any

from model.errors import UnsupportedModel

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
# Newer checkpoints may nest the image processor's configuration in this file; it then takes precedence.
PROCESSOR = "processor_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
FILES = (CONFIG, PREPROCESSOR, PROCESSOR, "model*.safetensors", INDEX)

_LFS_POINTER = b"version https://git-lfs.github.com/"
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx")
_MOST_NAMED = 8
_FETCH_AGAIN = "fetch the checkpoint again"
_IS_POINTER = "it is a Git LFS pointer instead of the file; run 'git lfs pull' in the checkpoint's folder"


def missing(folder: Path) -> str:
    """Name the files that the folder lacks to be a checkpoint, as text for an error; empty where none is missing."""
    lacks = [] if (folder / CONFIG).is_file() else [CONFIG]
    # A checkpoint of timm has neither file; `check` refuses it with its own error.
    if not any((folder / name).is_file() for name in (PREPROCESSOR, PROCESSOR)) and not _is_of_timm(folder):
        lacks.append(PREPROCESSOR)
    if not any((folder / name).is_file() for name in (WEIGHTS, INDEX)):
        others = sorted(path.name for pattern in _OTHER_WEIGHTS for path in folder.glob(pattern))
        # Other kinds of weights are not fetched from the hub, so they can't be seen here.
        lacks.append(f"{WEIGHTS} ({[*others, 'pytorch_model.bin'][0]} is not read: save it again with save_pretrained)")
    return ", ".join(lacks)


def check(folder: Path) -> None:
    """Check that the files are complete and have the expected content.

    Raises:
        UnsupportedModel: they are not; one sentence that names the file, the reason, and what to do.
    """
    config = read_json(folder / CONFIG)
    for path in (folder / CONFIG, folder / PREPROCESSOR, folder / PROCESSOR):
        if path.is_file():
            _check_no_code(path, read_json(path))
    if _is_of_timm(folder):
        raise _unsupported(
            CONFIG,
            "timm_wrapper is not supported: transformers needs timm for it; use a checkpoint made for transformers",
        )
    if not isinstance(config.get("model_type"), str):
        raise _unsupported(CONFIG, "it has no model_type; save the model again with save_pretrained")
    _check_labels(config.get("id2label"))
    for path in _weights(folder):
        _check_weights(path)


def processor_file(folder: Path) -> str:
    """Return the name of the file that configures the image processor."""
    if (folder / PROCESSOR).is_file() and "image_processor" in read_json(folder / PROCESSOR):
        return PROCESSOR
    return PREPROCESSOR


def read_json(path: Path) -> dict[str, Any]:
    """Read the JSON object in that file.

    Raises:
        UnsupportedModel: the file can't be read, or is not a JSON object.
    """
    text = _read(path)
    if text.startswith(_LFS_POINTER):
        raise _unsupported(path.name, _IS_POINTER)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise _unsupported(path.name, f"it is not valid JSON; {_FETCH_AGAIN}") from None
    if not isinstance(values, dict):
        raise _unsupported(path.name, f"it is no JSON object; {_FETCH_AGAIN}")
    return values


def _is_of_timm(folder: Path) -> bool:
    if not (folder / CONFIG).is_file():
        return False
    try:
        config = read_json(folder / CONFIG)
    except UnsupportedModel:
        return False
    return "pretrained_cfg" in config or config.get("model_type") == "timm_wrapper"


def _read(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except PermissionError:
        raise _unsupported(path.name, "it may not be read; give this user the permission") from None
    except OSError:
        raise _unsupported(path.name, f"it can't be read; {_FETCH_AGAIN}") from None


def _check_no_code(path: Path, values: dict[str, Any]) -> None:
    nested = values.get("image_processor")
    if values.get("auto_map") or (isinstance(nested, dict) and nested.get("auto_map")):
        raise _unsupported(
            path.name,
            "its auto_map names Python code of the checkpoint's own, which is never run; use a checkpoint of a model "
            "that transformers itself has",
        )


def _check_labels(id2label: Any) -> None:
    if id2label is None:
        return
    if not isinstance(id2label, dict):
        raise _unsupported(CONFIG, 'id2label is no object; write it as {"0": "first label", "1": "second label"}')
    if not id2label:
        raise _unsupported(CONFIG, "id2label is empty; name the label of every class, from 0 on")
    numbers = [key for key in id2label if key.isascii() and key.isdigit() and str(int(key[:9])) == key]
    if len(numbers) < len(id2label):
        raise _unsupported(CONFIG, "id2label has keys that are no class numbers; number the labels from 0 on")
    lacking = sorted(set(range(len(id2label))) - set(map(int, numbers)))
    if lacking:
        named = ", ".join(map(str, lacking[:_MOST_NAMED])) + (", ..." if len(lacking) > _MOST_NAMED else "")
        raise _unsupported(
            CONFIG, f"id2label has no label for {named}; number the labels from 0 to {len(id2label) - 1}"
        )
    for key, label in id2label.items():
        if isinstance(label, bool) or not isinstance(label, (str, int, float)):
            raise _unsupported(CONFIG, f"id2label has no text for {key}; labels are texts")
        # JSON can hold one half of a surrogate pair; an answer in UTF-8 can't.
        if isinstance(label, str) and any("\ud800" <= character <= "\udfff" for character in label):
            raise _unsupported(CONFIG, f"id2label has a text for {key} that is no Unicode; correct the label")


def _weights(folder: Path) -> list[Path]:
    """Return the files that hold the weights."""
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    shards = read_json(folder / INDEX).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()) or not shards:
        raise _unsupported(INDEX, f"it has no weight_map; {_FETCH_AGAIN}")
    names = sorted(set(shards.values()))
    for name in names:
        # Only `FILES` are stored with the prepared model: not files in other folders, or with other names.
        if "/" in name or not name.startswith("model") or not name.endswith(".safetensors"):
            raise _unsupported(
                INDEX, "it names files other than model*.safetensors; save the model again with save_pretrained"
            )
        if not (folder / name).is_file():
            raise _unsupported(INDEX, f"it names {name}, which is missing; {_FETCH_AGAIN}")
    return [folder / name for name in names]


def _check_weights(path: Path) -> None:
    # Imported only here: an installation that only serves does not have safetensors.
    from safetensors import SafetensorError, safe_open

    start = _read(path, 100)
    if start.startswith(_LFS_POINTER):
        raise _unsupported(path.name, _IS_POINTER)
    if not start:
        raise _unsupported(path.name, f"it is empty; {_FETCH_AGAIN}")
    try:
        with safe_open(path, framework="numpy") as file:
            is_empty = not file.keys()
    except (SafetensorError, OSError, ValueError):
        raise _unsupported(path.name, f"it is cut off, or no safetensors file; {_FETCH_AGAIN}") from None
    if is_empty:
        raise _unsupported(path.name, "it holds no weights; save the model again with save_pretrained")


def _unsupported(name: str, reason: str) -> UnsupportedModel:
    return UnsupportedModel(f"{name}: {reason}.")
