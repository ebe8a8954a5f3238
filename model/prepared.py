"""Finds the prepared model that the settings name, without importing torch or asking the Hugging Face hub."""

from pathlib import Path

from configs.settings import Settings
from model import store
from model.checkpoint import location
from model.errors import ModelError, SourceUnavailable
from model.store import PreparedModel
from runtime import bentos

STAND_IN_NAME = "efficientnet-lite0-offline-stand-in"
STAND_IN_ORIGIN = "stand-in"


def find_prepared(settings: Settings) -> PreparedModel | None:
    """Find the prepared model to serve with these settings.

    Returns:
        the model; None where it has to be prepared first.

    Raises:
        ModelError: the model that CLASSIFIER_PREPARED_MODEL names, or that belongs to this Bento, is missing.
        SourceUnavailable: that model contradicts the other settings, or CLASSIFIER_MODEL names no checkpoint.
    """
    fixed = _fixed_model(settings)
    if fixed:
        found = store.get(fixed)
        _check_settings(found, settings)
        return found
    if settings.offline_model == "only":
        return find_stand_in()
    prepared = store.find(location.model_name(settings), location.origin(settings))
    may_be_stand_in = settings.offline_model == "allow" and not location.is_directory(settings)
    return find_stand_in() if prepared is None and may_be_stand_in else prepared


def is_ready_to_serve(settings: Settings) -> bool:
    """Tell whether a start can serve a prepared model without asking the hub first.

    A stand-in that was prepared because the hub was unreachable does not count: the hub is asked again.

    Raises:
        ModelError: see `find_prepared`.
    """
    found = find_prepared(settings)
    if found is None or _fixed_model(settings):
        return found is not None
    return not found.manifest.stand_in or settings.offline_model == "only"


def find_stand_in() -> PreparedModel | None:
    """Find the prepared offline stand-in; None where there is none."""
    return store.find(STAND_IN_NAME, STAND_IN_ORIGIN)


def _fixed_model(settings: Settings) -> str:
    """Return the tag of the only model that may be served: the one that is set, or that of the Bento; else nothing.

    Raises:
        ModelError: the Bento was built without a model.
    """
    if settings.prepared_model:
        return settings.prepared_model
    packed = bentos.packed_models()
    if packed is None:
        return ""
    if not packed:
        raise ModelError("This Bento was built without a model; build it by 'make bento' in the project's checkout.")
    return packed[0]


def _check_settings(found: PreparedModel, settings: Settings) -> None:
    """Check that the only model that may be served does not contradict the other settings.

    A Bento brings it; a start, or whoever builds an image, sets CLASSIFIER_PREPARED_MODEL.
    """
    name, is_stand_in = found.manifest.name, found.manifest.stand_in
    if is_stand_in and settings.offline_model == "deny":
        raise SourceUnavailable(
            "The prepared model is the offline stand-in, and CLASSIFIER_OFFLINE_MODEL is deny; prepare the model where "
            "the hub can be reached, or set CLASSIFIER_OFFLINE_MODEL=only."
        )
    if not is_stand_in and settings.offline_model == "only":
        raise SourceUnavailable(f"The prepared model is {name}; CLASSIFIER_OFFLINE_MODEL=only asks for the stand-in.")
    # A model from a directory has the name of that directory after links are followed, as when it was prepared.
    wanted = {settings.model, Path(settings.model).expanduser().resolve().name}
    if "model" in settings.model_fields_set and not is_stand_in and name not in wanted:
        raise SourceUnavailable(f"The prepared model is {name}, not the one in CLASSIFIER_MODEL; prepare that one.")
    source, _, revision = found.manifest.origin.partition("@")
    asked = settings.model_revision
    is_asked = asked == revision or found.manifest.revision.startswith(asked)
    if "model_revision" in settings.model_fields_set and source.startswith("hub:") and not is_asked:
        raise SourceUnavailable(
            f"The prepared model is {name} at {revision}, not at CLASSIFIER_MODEL_REVISION; prepare that revision."
        )
