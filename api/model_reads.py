"""The routes that tell which model answers."""

from collections.abc import Callable

from fastapi import FastAPI

from api.classification import Classification
from api.read_schemas import Chosen, InputSize, Model, ModelInfo, Models
from problems.problem import Problem


def add_routes(app: FastAPI, classification: Callable[[], Classification]) -> None:
    """Add them; `classification` gives the worker's way to the model, once the worker is up."""

    @app.get("/v1/model/info")
    async def model_info() -> ModelInfo:
        """Which model answers, and whether it is ready to."""
        manifest = classification().manifest
        return ModelInfo(name=manifest.name, status=_status(classification()), num_labels=len(manifest.labels))

    @app.get("/v2/models")
    async def models() -> Models:
        """Every model that the service has: the one that it serves."""
        return Models(models=[_served(classification())])

    @app.get("/v2/models/{name:path}")
    async def model(name: str) -> Model:
        """One model, by its name, which may have a slash in it."""
        served = _served(classification())
        if name != served.name:
            raise Problem(404, "There is no model of this name; /v2/models lists those there are.")
        return served


def _status(classification: Classification) -> str:
    return "loaded" if classification.is_loaded else "not_loaded"


def _served(classification: Classification) -> Model:
    manifest, engine = classification.manifest, classification.engine
    return Model(
        name=manifest.name,
        revision=manifest.revision,
        status=_status(classification),
        stand_in=manifest.stand_in,
        engine=engine.engine if engine else None,
        precision=engine.precision if engine else None,
        chosen=Chosen(**engine.chosen) if engine and engine.chosen else None,
        input=InputSize(width=classification.recipe.width, height=classification.recipe.height),
        num_labels=len(manifest.labels),
        labels=manifest.labels,
    )
