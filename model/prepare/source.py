"""Fetches the checkpoint that the settings name: from a directory, the Hugging Face hub, or the hub's cache.

Nothing here imports torch.
"""

import errno
import hashlib
import logging
import os
import re
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from configs.settings import Settings
from model.checkpoint import location
from model.checkpoint.files import FILES
from model.errors import SourceUnavailable
from model.prepare.hub import ASKED_AGAIN_S, check_endpoint, unreachable
from model.prepare.hub_question import run_within
from model.prepared import find_stand_in

logger = logging.getLogger("bentoml.classifier")

HUB_ANSWERS_WITHIN_S = 8.0
# Statuses of a hub that may answer later: treated as if it could not be reached.
_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOT_STORED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EFBIG)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine.

    Attributes:
        origin: identifies the source, see `location.origin`.
        name: the model's name, as answers show it.
        revision: the commit on the hub, or a digest of the files.
        folder: where the files are.
    """

    origin: str
    name: str
    revision: str
    folder: Path


def fetch_checkpoint(settings: Settings) -> Checkpoint:
    """Return the checkpoint that the settings name, after downloading it where it is not on this machine yet.

    Raises:
        HubUnreachable: the hub does not answer, and its cache lacks the checkpoint.
        SourceUnavailable: there is no such checkpoint, it lacks files, or the hub refuses it.
    """
    if location.is_directory(settings):
        folder = location.directory(settings)
        return Checkpoint(location.origin(settings), location.model_name(settings), location.digest(folder), folder)
    return _from_hub(settings)


def _from_hub(settings: Settings) -> Checkpoint:
    check_endpoint()
    from huggingface_hub import snapshot_download

    name, revision = settings.model, settings.model_revision
    # Without a token from the settings, the library uses the one that its own command line has stored.
    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    try:
        timeout_s = HUB_ANSWERS_WITHIN_S if find_stand_in() is None else ASKED_AGAIN_S
        run_within(timeout_s, lambda: _check_on_hub(name, revision, timeout_s, token))
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES), token=token))
    except SourceUnavailable:
        raise
    except Exception as error:
        status = _status(error)
        _raise_if_refused(status, name)
        cached = _find_in_cache(name, revision)
        if cached is None:
            _raise_if_not_stored(error)
            raise unreachable(f"it answers {status}" if status else type(error).__name__) from None
        logger.warning("The Hugging Face hub can't be reached; preparing %s from its cache.", name)
        folder = cached
    location.require_checkpoint(folder)
    _check_hashes(folder)
    # The hub's client names the folder of a snapshot by its commit.
    return Checkpoint(location.origin(settings), name, folder.name, folder)


def _check_on_hub(name: str, revision: str, timeout_s: float, token: str | None) -> None:
    """Check that the hub answers and has the model; the download itself would retry an unreachable hub for minutes."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        HfApi(token=token).model_info(name, revision=revision, timeout=timeout_s)
    except RevisionNotFoundError:
        raise SourceUnavailable(f"{name} has no revision {revision}; see CLASSIFIER_MODEL_REVISION.") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise SourceUnavailable(
            f"The Hugging Face hub has no model {name} that you may read; see CLASSIFIER_MODEL (and HF_TOKEN)."
        ) from None


def _status(error: BaseException | None) -> int | None:
    """Return the status that the hub answered with; None if there was no answer."""
    from huggingface_hub.errors import HfHubHTTPError

    # The client wraps such an error where a download fails.
    while error is not None:
        if isinstance(error, HfHubHTTPError) and error.response is not None:
            return int(error.response.status_code)
        error = error.__cause__ or error.__context__
    return None


def _raise_if_refused(status: int | None, name: str) -> None:
    """Raise where the hub answered and refused the checkpoint: serving a stand-in would hide a wrong setting."""
    if status is not None and status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _LATER:
        raise SourceUnavailable(
            f"The Hugging Face hub refuses {name} ({status}); see CLASSIFIER_MODEL and HF_TOKEN."
        ) from None


def _raise_if_not_stored(error: Exception) -> None:
    """Raise where the hub has answered, but the files can't be written to its cache on this machine."""
    if isinstance(error, OSError) and error.errno in _NOT_STORED:
        raise SourceUnavailable(
            f"The checkpoint can't be stored in the Hugging Face hub's cache ({os.strerror(error.errno)}); make room "
            "there, or set HF_HOME to another folder."
        ) from None


def _check_hashes(folder: Path) -> None:
    """Check the hashes of weights in the hub's cache: its client compares only sizes, and keeps a damaged file.

    Raises:
        SourceUnavailable: a file is damaged; it was deleted.
    """
    for path in sorted(folder.glob("*")):
        blob = path.resolve()
        # The client names each file by its hash at the hub, which is SHA-256 for a large file.
        if _SHA256.fullmatch(blob.name) is None:
            continue
        with blob.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != blob.name:
            blob.unlink()
            raise SourceUnavailable(
                f"The file {path.name} in the Hugging Face hub's cache was damaged, and was deleted; start again to "
                "fetch it."
            )


def _find_in_cache(name: str, revision: str) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(name, revision=revision, allow_patterns=list(FILES), local_files_only=True)
    except Exception:
        return None
    return Path(found)
