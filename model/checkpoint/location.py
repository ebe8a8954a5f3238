"""Tells which checkpoint CLASSIFIER_MODEL names: a directory on this machine, or a model of the Hugging Face hub.

Nothing here imports torch or asks the hub: most starts only look for the prepared model that belongs to the settings.
"""

import hashlib
from pathlib import Path

from configs.settings import Settings
from model.checkpoint.files import FILES, missing
from model.errors import SourceUnavailable


def is_directory(settings: Settings) -> bool:
    """Tell whether CLASSIFIER_MODEL names a directory; otherwise it names a model of the hub.

    Raises:
        SourceUnavailable: it names a file, an address, or a directory that does not exist or can't be read.
    """
    text = settings.model
    try:
        path = Path(text).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError):
        raise SourceUnavailable("CLASSIFIER_MODEL names a directory that can't be read; correct it.") from None
    if is_folder:
        return True
    if is_file:
        raise SourceUnavailable("CLASSIFIER_MODEL names a file; name the directory that the checkpoint lies in.")
    if "://" in text:
        raise SourceUnavailable(
            "CLASSIFIER_MODEL is an address; give the model's name on the hub (microsoft/resnet-18), or a directory."
        )
    if text.startswith(("/", ".", "~")) or text.count("/") > 1:
        raise SourceUnavailable("CLASSIFIER_MODEL names a directory that does not exist; correct it.")
    return False


def directory(settings: Settings) -> Path:
    """Return the directory that CLASSIFIER_MODEL names.

    Raises:
        SourceUnavailable: it is not a whole checkpoint.
    """
    folder = Path(settings.model).expanduser()
    require_checkpoint(folder)
    return folder


def model_name(settings: Settings) -> str:
    """Return the name of the model: its name on the hub, or that of the directory after links are followed."""
    return Path(settings.model).expanduser().resolve().name if is_directory(settings) else settings.model


def origin(settings: Settings) -> str:
    """Return the text that identifies the source of a prepared model: `directory:DIGEST` or `hub:NAME@REVISION`.

    Raises:
        SourceUnavailable: CLASSIFIER_MODEL names a directory that is not a whole checkpoint.
    """
    if is_directory(settings):
        return f"directory:{digest(directory(settings))}"
    return f"hub:{settings.model}@{settings.model_revision}"


def require_checkpoint(folder: Path) -> None:
    """Check that the folder has every file of a checkpoint.

    Raises:
        SourceUnavailable: a file is missing, or the folder can't be read.
    """
    try:
        lacks = missing(folder)
    except OSError:
        raise _unreadable("directory") from None
    if lacks:
        raise SourceUnavailable(f"The checkpoint that CLASSIFIER_MODEL names lacks {lacks}.")


def digest(folder: Path) -> str:
    """Compute the SHA-256 of the checkpoint's files: another checkpoint in the same directory is another version.

    Raises:
        SourceUnavailable: a file can't be read.
    """
    whole = hashlib.sha256()
    for path in sorted(path for pattern in FILES for path in folder.glob(pattern)):
        try:
            with path.open("rb") as file:
                whole.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        except OSError:
            raise _unreadable(path.name) from None
    return whole.hexdigest()


def _unreadable(name: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"The checkpoint that CLASSIFIER_MODEL names has a {name} that can't be read; give this user the permission."
    )
