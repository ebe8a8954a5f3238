"""Checks whether the engine that the settings choose can be loaded, without loading it."""

from importlib.util import find_spec

from configs.settings import Settings
from model.devices import chosen_engine
from model.errors import ModelError
from model.store import GRAPH_INT8, PreparedModel


def check(prepared: PreparedModel, settings: Settings) -> None:
    """Check that the engine which the settings choose can be loaded.

    Raises:
        ModelError: this machine or this model lacks what the settings ask for.
    """
    if chosen_engine(settings) == "torch":
        if settings.precision == "int8":
            raise ModelError("CLASSIFIER_PRECISION=int8 needs the engine OpenVINO; set CLASSIFIER_ENGINE=openvino.")
        if find_spec("torch") is None or find_spec("transformers") is None:
            raise ModelError("CLASSIFIER_ENGINE=torch needs torch and transformers; run 'make install-torch'.")
    elif settings.precision == "int8" and not (prepared.folder / GRAPH_INT8).exists():
        raise ModelError(
            "CLASSIFIER_PRECISION=int8 needs a quantised model; make it with 'make quantize IMAGES=folder', "
            "or use CLASSIFIER_PRECISION=auto."
        )
