"""Reads BentoML's configuration, which has no public interface."""

from pathlib import Path

from bentoml._internal.configuration.containers import BentoMLContainer


def home() -> Path:
    """Return the folder of BentoML's models and Bentos: `BENTOML_HOME`, or BentoML's default."""
    return Path(BentoMLContainer.bentoml_home.get())


def answers_cors() -> bool:
    """Return whether BentoML is configured to answer CORS requests itself (`http.cors.enabled`)."""
    return bool(BentoMLContainer.http.cors.enabled.get())
