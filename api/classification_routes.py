"""The routes that classify, as BentoML declares them: each hands the request over to its version of the API."""

import bentoml
from starlette.requests import Request
from starlette.responses import Response

from api import v1, v2
from api.endpoint import classification_endpoint
from api.schemas import BatchAnswer, BatchUpload, ClassifyAnswer, ClassifyAnswerV2, ClassifyRequest, ClassifyUpload
from inference.classifier import Classifier


class ClassificationRoutes:
    """The POST routes of the gateway; its service inherits them. The GET routes are in `api/reads.py`.

    Attributes:
        classifier: the worker's way to the model.
        most_images: the most images in a batch.
    """

    classifier: Classifier
    most_images: int

    @bentoml.api(route="/v1/classify", input_spec=ClassifyRequest, output_spec=ClassifyAnswer)
    @classification_endpoint
    async def classify(self, request: Request) -> Response:
        """Classify one image: its five most probable labels."""
        return await v1.classify(request, self.classifier)

    @bentoml.api(route="/v2/classify", input_spec=ClassifyUpload, output_spec=ClassifyAnswerV2)
    @classification_endpoint
    async def classify_v2(self, request: Request) -> Response:
        """Classify one image: its most probable labels, and what was seen."""
        return await v2.classify(request, self.classifier)

    @bentoml.api(route="/v2/classify/batch", input_spec=BatchUpload, output_spec=BatchAnswer)
    @classification_endpoint
    async def classify_batch(self, request: Request) -> Response:
        """Classify several images: one entry for each, in order."""
        return await v2.classify_batch(request, self.classifier, self.most_images)
