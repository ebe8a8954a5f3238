"""The classification route of v1, frozen: one image in base64, its five most probable labels."""

from starlette.requests import Request
from starlette.responses import Response

from api.endpoint import json_response
from api.requests import JSON, content_type, read_json
from api.schemas import ClassifyRequest
from inference.classifier import Classifier
from inference.ranking import top_k
from web import context

PREDICTIONS = 5


async def classify(request: Request, classifier: Classifier) -> Response:
    """Classify one image.

    Raises:
        Problem: 400, 413, 415, 422, 503.
    """
    content_type(request, JSON)
    body = await read_json(request, ClassifyRequest)
    request_context = context.of(request.scope)
    _, probabilities = await classifier.classify(request_context.user_id, body.image, request_context.timing)
    request_context.note_answer(1, classifier.manifest.name, classifier.manifest.revision)
    best = top_k(probabilities, classifier.manifest.labels, PREDICTIONS)
    predictions = [{"label": label, "confidence": probability} for _, label, probability in best]
    return json_response({"predictions": predictions, "model": classifier.manifest.name})
