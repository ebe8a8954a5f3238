"""Where a model comes from: the Hugging Face hub, a directory, or the offline stand-in.

Nothing here imports torch: most starts only ask which prepared model answers to the settings.
"""

import hashlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from configs.settings import Settings
from model import store
from model.errors import SourceUnavailable
from model.prepare.checkpoint import FILES, missing
from model.store import PreparedModel

logger = logging.getLogger("bentoml.classifier")

HUB_ANSWERS_WITHIN_S = 8.0
# Where the stand-in is ready to serve, a start does not wait long for a hub that was away before.
HUB_ASKED_AGAIN_S = 2.0
STAND_IN_NAME = "squeezenet-1.1-offline-stand-in"
STAND_IN_ORIGIN = "stand-in"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine: what was asked for, what it is called, which version it is, and where it lies."""

    origin: str
    name: str
    revision: str
    folder: Path


def prepared(settings: Settings) -> PreparedModel | None:
    """The prepared model that these settings serve; None where one has yet to be prepared. The hub is not asked."""
    if settings.prepared_model:
        return _as_wanted(store.get(settings.prepared_model), settings)
    if settings.offline_model == "only":
        return stand_in()
    found = store.find(_name(settings), _origin(settings))
    return stand_in() if found is None and settings.offline_model == "allow" and not _is_folder(settings) else found


def _as_wanted(found: PreparedModel, settings: Settings) -> PreparedModel:
    """The model that was chosen, by a start or a builder of images, where the other settings do not gainsay it."""
    name, stands_in = found.manifest.name, found.manifest.stand_in
    if stands_in and settings.offline_model == "deny":
        raise SourceUnavailable(
            "What is prepared is the offline stand-in, and CLASSIFIER_OFFLINE_MODEL is deny; prepare the model where "
            "the hub can be reached, or set CLASSIFIER_OFFLINE_MODEL=only."
        )
    if not stands_in and settings.offline_model == "only":
        raise SourceUnavailable(f"What is prepared is {name}; CLASSIFIER_OFFLINE_MODEL=only asks for the stand-in.")
    # A directory goes by the name that it has once links are followed, as when it was prepared.
    wanted = {settings.model, Path(settings.model).expanduser().resolve().name}
    if "model" in settings.model_fields_set and not stands_in and name not in wanted:
        raise SourceUnavailable(f"What is prepared is {name}, not what CLASSIFIER_MODEL names; prepare that one.")
    return found


def is_settled(settings: Settings) -> bool:
    """Whether a start may serve what is prepared without a look at the hub first."""
    found = prepared(settings)
    if found is None or settings.prepared_model:
        return found is not None
    return not found.manifest.stand_in or settings.offline_model == "only"


def stand_in() -> PreparedModel | None:
    """The prepared stand-in, where there is one."""
    return store.find(STAND_IN_NAME, STAND_IN_ORIGIN)


def checkpoint(settings: Settings) -> Checkpoint:
    """The checkpoint that the settings name, brought to this machine where it is not there yet.

    Raises:
        SourceUnavailable: it can't be had; `SourceUnavailable.offline` tells an unreachable hub from a wrong name.
    """
    if _is_folder(settings):
        folder = Path(settings.model).expanduser()
        _require(folder)
        return Checkpoint(_origin(settings), _name(settings), _digest(folder), folder)
    return _from_hub(settings)


def _is_folder(settings: Settings) -> bool:
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
    if text.startswith(("/", ".", "~")) or text.count("/") > 1:
        raise SourceUnavailable("CLASSIFIER_MODEL names a directory that does not exist; correct it.")
    return False


def _name(settings: Settings) -> str:
    return Path(settings.model).expanduser().resolve().name if _is_folder(settings) else settings.model


def _origin(settings: Settings) -> str:
    if _is_folder(settings):
        folder = Path(settings.model).expanduser()
        _require(folder)
        return f"directory:{_digest(folder)}"
    return f"hub:{settings.model}@{settings.model_revision}"


def _require(folder: Path) -> None:
    """Raise where the folder is no checkpoint."""
    try:
        lacks = missing(folder)
    except OSError:
        raise _unreadable("directory") from None
    if lacks:
        raise SourceUnavailable(f"The checkpoint that CLASSIFIER_MODEL names lacks {lacks}.")


def _digest(folder: Path) -> str:
    """A digest of the checkpoint's files: another checkpoint in the same directory is another version."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in FILES for path in folder.glob(pattern)):
        try:
            with path.open("rb") as file:
                digest.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        except OSError:
            raise _unreadable(path.name) from None
    return digest.hexdigest()


def _unreadable(name: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"The checkpoint that CLASSIFIER_MODEL names has a {name} that can't be read; give this user the permission."
    )


def _from_hub(settings: Settings) -> Checkpoint:
    from huggingface_hub import snapshot_download

    name, wanted = settings.model, settings.model_revision
    # Without one the library looks for it where its own command line keeps it.
    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    try:
        patience_s = HUB_ANSWERS_WITHIN_S if stand_in() is None else HUB_ASKED_AGAIN_S
        _within(patience_s, lambda: _ask_hub(name, wanted, patience_s, token))
        folder = Path(snapshot_download(name, revision=wanted, allow_patterns=list(FILES), token=token))
    except SourceUnavailable:
        raise
    except Exception as error:
        _raise_if_refused(error, name)
        cached = _in_cache(name, wanted)
        if cached is None:
            raise HubUnreachable(f"The Hugging Face hub can't be reached ({type(error).__name__}).") from None
        logger.warning("The Hugging Face hub can't be reached; preparing %s from its cache.", name)
        folder = cached
    _require(folder)
    # A snapshot lies in a folder that is named by its commit.
    return Checkpoint(_origin(settings), name, folder.name, folder)


class HubUnreachable(SourceUnavailable):
    """The hub did not answer, and its cache on this machine does not have the checkpoint."""


def _ask_hub(name: str, revision: str, patience_s: float, token: str | None) -> None:
    """Return where the hub has the model; the download itself would try an unreachable hub for minutes."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        HfApi(token=token).model_info(name, revision=revision, timeout=patience_s)
    except RevisionNotFoundError:
        raise SourceUnavailable(f"{name} has no revision {revision}; see CLASSIFIER_MODEL_REVISION.") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise SourceUnavailable(
            f"The Hugging Face hub has no model {name} that you may read; see CLASSIFIER_MODEL (and HF_TOKEN)."
        ) from None


def _raise_if_refused(error: Exception, name: str) -> None:
    """Raise where the hub did answer, and won't give the checkpoint out: no stand-in mends that."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError) and error.response is not None and error.response.status_code < 500:
        raise SourceUnavailable(
            f"The Hugging Face hub refuses {name} ({error.response.status_code}); see CLASSIFIER_MODEL and HF_TOKEN."
        ) from None


def _in_cache(name: str, revision: str) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(name, revision=revision, allow_patterns=list(FILES), local_files_only=True)
    except Exception:
        return None
    return Path(found)


def _within(seconds: float, ask: Callable[[], None]) -> None:
    """Ask, or raise `TimeoutError`: a name server that never answers heeds no time limit of the client's."""
    outcome: Future[None] = Future()

    def answer() -> None:
        try:
            ask()
        except Exception as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    threading.Thread(target=answer, daemon=True).start()
    outcome.result(seconds)
