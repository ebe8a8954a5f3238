"""Reads what BentoML's configuration says, which has no public interface."""

from pathlib import Path

from bentoml._internal.configuration.containers import BentoMLContainer


def home() -> Path:
    """The folder of BentoML's models and Bentos: `BENTOML_HOME`, or where BentoML keeps them otherwise."""
    return Path(BentoMLContainer.bentoml_home.get())


def answers_cors() -> bool:
    """Whether BentoML is configured to answer CORS requests itself (`http.cors.enabled`)."""
    return bool(BentoMLContainer.http.cors.enabled.get())
