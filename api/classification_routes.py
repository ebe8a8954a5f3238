"""The routes that classify, as BentoML declares them: each hands the request over to its version of the API."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import bentoml
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.endpoint import classification_endpoint
from api.routes import HUGGING_FACE
from api.schemas import (
    BatchAnswer,
    BatchUpload,
    ClassifyAnswer,
    ClassifyAnswerV2,
    ClassifyRequest,
    ClassifyUpload,
)
from web.context import RequestContext
from web.problem import Problem

# The handlers are imported when they are called: BentoML's supervisor, which only reads this table, needs none of them.
if TYPE_CHECKING:
    from inference.classifier import Classifier


def hugging_face_route(routes: "Callable[[], ClassificationRoutes]") -> Route:
    """Return the route that BentoML does not declare: its own client can't fill a parameter into a path.

    Args:
        routes: returns the worker's service.
    """

    async def call(request: Request) -> Response:
        return await routes().classify_hugging_face(request)

    return Route(HUGGING_FACE, call, methods=["POST"])


def refusal(request: RequestContext, classifier: "Classifier") -> Problem | None:
    """Return the problem if it is known without the body that a request to one of these routes can't be answered."""
    from api import hugging_face

    return hugging_face.other_model(request, classifier.manifest.name) or classifier.queue.overload(request.user_id)


class ClassificationRoutes:
    """The POST routes of the gateway; its service inherits them. The others are in `api/json_routes.py`.

    Attributes:
        classifier: the worker's way to the model.
        most_images: the most images in a batch.
    """

    classifier: "Classifier"
    most_images: int

    @bentoml.api(route="/v1/classify", input_spec=ClassifyRequest, output_spec=ClassifyAnswer)
    @classification_endpoint
    async def classify(self, request: Request) -> Response:
        """Classify one image: its five most probable labels."""
        from api import v1

        return await v1.classify(request, self.classifier)

    @bentoml.api(route="/v2/classify", input_spec=ClassifyUpload, output_spec=ClassifyAnswerV2)
    @classification_endpoint
    async def classify_v2(self, request: Request) -> Response:
        """Classify one image: its most probable labels, and what was seen."""
        from api import v2

        return await v2.classify(request, self.classifier)

    @bentoml.api(route="/v2/classify/batch", input_spec=BatchUpload, output_spec=BatchAnswer)
    @classification_endpoint
    async def classify_batch(self, request: Request) -> Response:
        """Classify several images: one entry for each, in order."""
        from api import v2

        return await v2.classify_batch(request, self.classifier, self.most_images)

    @classification_endpoint
    async def classify_hugging_face(self, request: Request) -> Response:
        """Classify one image, in the shape of Hugging Face's inference API."""
        from api import hugging_face

        return await hugging_face.classify(request, self.classifier)
