"""The classification routes of v2: one image or several, in any of the three formats that `uploads.py` reads."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.schemas import Options
from api.uploads import read_many, read_one
from inference.classifier import Classifier, Probabilities
from inference.ranking import top_k
from model.images.decode import Decoded
from web import context
from web.problem import Problem


async def classify(request: Request, classifier: Classifier) -> Response:
    """Classify one image.

    Raises:
        Problem: 400, 413, 415, 422, 503.
    """
    model = classifier.served_model()
    upload = await read_one(request)
    _check_top_k(upload.options, classifier)
    request_context = context.of(request.scope)
    image, user = upload.images[0], request_context.user_id
    decoded, probabilities = await classifier.classify(user, image, request_context.timing)
    request_context.note_answer(1, model["name"], model["revision"])
    entry = _entry(decoded, probabilities, upload.options, classifier)
    return JSONResponse({"id": request_context.usage_id, "model": model, **entry})


async def classify_batch(request: Request, classifier: Classifier, most_images: int) -> Response:
    """Classify several images: one entry for each, with its predictions or its error. Costs one hit for each image.

    Raises:
        Problem: 400, 413, 415, 422, 429, 503.
    """
    model = classifier.served_model()
    upload = await read_many(request, most_images)
    _check_top_k(upload.options, classifier)
    request_context = context.of(request.scope)
    assert request_context.pay is not None, "the rate limit is outside of each route that costs a hit for each image"
    await request_context.pay(len(upload.images))
    results = await classifier.classify_all(request_context.user_id, upload.images, request_context.timing)
    entries = [
        {"error": result.body()} if isinstance(result, Problem) else _entry(*result, upload.options, classifier)
        for result in results
    ]
    answered = sum(not isinstance(result, Problem) for result in results)
    request_context.note_answer(answered, model["name"], model["revision"])
    return JSONResponse({"id": request_context.usage_id, "model": model, "results": entries})


def _check_top_k(options: Options, classifier: Classifier) -> None:
    labels = len(classifier.manifest.labels)
    if options.asks_for_top_k and options.top_k > labels:
        raise Problem(422, f"The field 'top_k' is wrong: the model has {labels} labels; ask for fewer.", field="top_k")


def _entry(decoded: Decoded, probabilities: Probabilities, options: Options, classifier: Classifier) -> dict[str, Any]:
    predictions = [
        {"label": label, "class_id": class_id, "confidence": probability}
        for class_id, label, probability in top_k(probabilities, classifier.manifest.labels, options.top_k)
        if probability >= options.min_confidence
    ]
    image = {"width": decoded.width, "height": decoded.height, "format": decoded.format}
    return {"predictions": predictions, "image": image}
