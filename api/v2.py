"""The classification routes of v2: one image or several, in any of the three formats that `uploads.py` reads."""

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api import json_lines
from api.endpoint import json_response
from api.json_lines import TakeEntry
from api.schemas import Options
from api.uploads import Upload, read_many, read_one
from inference.classifier import Classifier, Result
from inference.ranking import top_k
from model.engine import Probabilities
from model.images.decode import Decoded
from web import context
from web.context import RequestContext
from web.problem import Problem


async def classify(request: Request, classifier: Classifier) -> Response:
    """Classify one image.

    Raises:
        Problem: 400, 413, 415, 422, 503.
    """
    model = classifier.served_model()
    upload = await read_one(request)
    check_top_k(upload.options, classifier)
    request_context = context.of(request.scope)
    image, user = upload.images[0], request_context.user_id
    decoded, probabilities = await classifier.classify(user, image, request_context.timing)
    request_context.note_answer(1, model["name"], model["revision"])
    entry = _entry(decoded, probabilities, upload.options, classifier)
    return json_response({"id": request_context.usage_id, "model": model, **entry})


async def classify_batch(request: Request, classifier: Classifier, most_images: int) -> Response:
    """Classify several images: one entry for each, with its predictions or its error. Costs one hit for each image.

    Raises:
        Problem: 400, 413, 415, 422, 429, 503.
    """
    model = classifier.served_model()
    upload = await read_many(request, most_images)
    check_top_k(upload.options, classifier)
    request_context = context.of(request.scope)
    assert request_context.pay is not None, "the rate limit is outside of each route that costs a hit for each image"
    await request_context.pay(len(upload.images))
    wants_lines, may_be_repeated = json_lines.are_wanted(request), "idempotency-key" in request.headers
    if wants_lines and not may_be_repeated:
        # The row of each image says whether it is billable.
        request_context.note_answer(0, model["name"], model["revision"])
        return json_lines.JsonLines(request_context, partial(_send_each, upload, classifier, request_context))
    results = await classifier.classify_all(request_context.user_id, upload.images, request_context.timing)
    entries = [
        {"error": result.body()} if isinstance(result, Problem) else _entry(*result, upload.options, classifier)
        for result in results
    ]
    answered = sum(not isinstance(result, Problem) for result in results)
    request_context.note_answer(answered, model["name"], model["revision"])
    if wants_lines:
        return json_lines.whole(entries)
    return json_response({"id": request_context.usage_id, "model": model, "results": entries})


async def _send_each(upload: Upload, classifier: Classifier, request_context: RequestContext, take: TakeEntry) -> None:
    async def take_result(number: int, result: Result) -> None:
        if isinstance(result, Problem):
            return await take(number, result)
        await take(number, _entry(*result, upload.options, classifier))

    await classifier.classify_each(request_context.user_id, upload.images, request_context.timing, take_result)


def check_top_k(options: Options, classifier: Classifier) -> None:
    """Check that the model has as many labels as the caller asks for.

    Raises:
        Problem: 422, it has fewer.
    """
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
