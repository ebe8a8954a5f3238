"""The classification routes of v2: one image or several, sent in whichever way suits the caller."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.schemas import Options
from api.uploads import read_many, read_one
from inference.classification import Classification, Probabilities
from model.images.decode import Decoded
from web import context
from web.problem import Problem


async def classify(request: Request, classification: Classification) -> Response:
    """Classify one image."""
    model = classification.served_by()
    upload = await read_one(request)
    _check(upload.options, classification)
    known = context.of(request.scope)
    decoded, probabilities = await classification.classify(known.user_id, upload.images[0], known.timing)
    entry = _entry(decoded, probabilities, upload.options, classification)
    return JSONResponse({"id": known.usage_id, "model": model, **entry})


async def classify_batch(request: Request, classification: Classification, most_images: int) -> Response:
    """Classify several images, each with predictions or an error of its own; it costs as many hits as images."""
    model = classification.served_by()
    upload = await read_many(request, most_images)
    _check(upload.options, classification)
    known = context.of(request.scope)
    assert known.pay is not None, "the limit stands before every route that costs as many hits as images"
    await known.pay(len(upload.images))
    results = await classification.classify_all(known.user_id, upload.images, known.timing)
    entries = [
        {"error": result.body()} if isinstance(result, Problem) else _entry(*result, upload.options, classification)
        for result in results
    ]
    return JSONResponse({"id": known.usage_id, "model": model, "results": entries})


def _check(options: Options, classification: Classification) -> None:
    labels = len(classification.manifest.labels)
    if options.asks_for_top_k and options.top_k > labels:
        raise Problem(422, f"The field 'top_k' is wrong: the model has {labels} labels; ask for fewer.", field="top_k")


def _entry(
    decoded: Decoded, probabilities: Probabilities, options: Options, classification: Classification
) -> dict[str, Any]:
    best = classification.top(probabilities, options.top_k)
    predictions = [
        {"label": label, "class_id": number, "confidence": confidence}
        for number, label, confidence in best
        if confidence >= options.min_confidence
    ]
    image = {"width": decoded.width, "height": decoded.height, "format": decoded.format}
    return {"predictions": predictions, "image": image}
