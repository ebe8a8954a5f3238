"""The classification route of v1, frozen: one image in base64, its five most probable labels."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.requests import JSON, content_type, read_json
from api.schemas import ClassifyRequest
from auth import identity
from inference.classification import Classification
from web import timing

PREDICTIONS = 5


async def classify(request: Request, classification: Classification) -> Response:
    """Classify one image."""
    content_type(request, JSON)
    body = await read_json(request, ClassifyRequest)
    _, probabilities = await classification.classify(identity.user(request.scope), body.image, timing.of(request.scope))
    best = classification.top(probabilities, PREDICTIONS)
    predictions = [{"label": label, "confidence": confidence} for _, label, confidence in best]
    return JSONResponse({"predictions": predictions, "model": classification.manifest.name})
