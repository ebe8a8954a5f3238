"""The routes that describe the served model."""

from collections.abc import Callable

from starlette.requests import Request

from api.json_route import JsonRoute
from api.read_schemas import Chosen, InputSize, Model, ModelInfo, Models
from inference.classifier import Classifier
from web.problem import Problem


def routes(classifier: Callable[[], Classifier]) -> list[JsonRoute]:
    """Return the routes of the model.

    Args:
        classifier: returns the worker's classifier, which exists once the worker has started.
    """

    async def model_info(_request: Request) -> ModelInfo:
        """The served model, and whether it is loaded."""
        manifest = classifier().manifest
        return ModelInfo(name=manifest.name, status=_status(classifier()), num_labels=len(manifest.labels))

    async def models(_request: Request) -> Models:
        """All models of the service: the one that it serves."""
        return Models(models=[_served_model(classifier())])

    async def model(request: Request) -> Model:
        """One model, by its name, which may contain a slash."""
        served = _served_model(classifier())
        if request.path_params["name"] != served.name:
            raise Problem(404, "There is no model of this name; /v2/models lists those there are.")
        return served

    return [
        JsonRoute("/v1/model/info", model_info, ModelInfo),
        JsonRoute("/v2/models", models, Models),
        JsonRoute("/v2/models/{name:path}", model, Model),
    ]


def _status(classifier: Classifier) -> str:
    return "loaded" if classifier.is_loaded else "not_loaded"


def _served_model(classifier: Classifier) -> Model:
    manifest, engine = classifier.manifest, classifier.engine
    return Model(
        name=manifest.name,
        revision=manifest.revision,
        status=_status(classifier),
        stand_in=manifest.stand_in,
        engine=engine.engine if engine else None,
        precision=engine.precision if engine else None,
        chosen=Chosen(**engine.chosen) if engine and engine.chosen else None,
        input=InputSize(width=classifier.recipe.width, height=classifier.recipe.height),
        function=manifest.function,
        num_labels=len(manifest.labels),
        labels=manifest.labels,
    )
