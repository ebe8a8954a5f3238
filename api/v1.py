"""The classification route of v1, frozen: one image in base64, its five most probable labels."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.requests import JSON, content_type, read_json
from api.schemas import ClassifyRequest
from inference.classification import Classification
from web import context

PREDICTIONS = 5


async def classify(request: Request, classification: Classification) -> Response:
    """Classify one image."""
    content_type(request, JSON)
    body = await read_json(request, ClassifyRequest)
    known = context.of(request.scope)
    _, probabilities = await classification.classify(known.user_id, body.image, known.timing)
    best = classification.top(probabilities, PREDICTIONS)
    predictions = [{"label": label, "confidence": confidence} for _, label, confidence in best]
    return JSONResponse({"predictions": predictions, "model": classification.manifest.name})
