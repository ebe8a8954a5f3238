"""The routes that tell which model answers."""

from collections.abc import Callable

from starlette.requests import Request

from api.read_route import ReadRoute
from api.read_schemas import Chosen, InputSize, Model, ModelInfo, Models
from inference.classification import Classification
from web.problem import Problem


def routes(classification: Callable[[], Classification]) -> list[ReadRoute]:
    """The routes; `classification` gives the worker's way to the model, once the worker is up."""

    async def model_info(_request: Request) -> ModelInfo:
        """Which model answers, and whether it is ready to."""
        manifest = classification().manifest
        return ModelInfo(name=manifest.name, status=_status(classification()), num_labels=len(manifest.labels))

    async def models(_request: Request) -> Models:
        """Every model that the service has: the one that it serves."""
        return Models(models=[_served(classification())])

    async def model(request: Request) -> Model:
        """One model, by its name, which may have a slash in it."""
        served = _served(classification())
        if request.path_params["name"] != served.name:
            raise Problem(404, "There is no model of this name; /v2/models lists those there are.")
        return served

    return [
        ReadRoute("/v1/model/info", model_info, ModelInfo),
        ReadRoute("/v2/models", models, Models),
        ReadRoute("/v2/models/{name:path}", model, Model),
    ]


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
        function=manifest.function,
        num_labels=len(manifest.labels),
        labels=manifest.labels,
    )
