"""The route in the shape of Hugging Face's inference API: `InferenceClient(model=URL).image_classification(photo)`."""

from starlette.requests import Request
from starlette.responses import Response

from api.endpoint import json_response
from api.requests import BYTE_ORDER_MARK, check_not_compressed, parse_json, read_body
from api.routes import HUGGING_FACE
from api.schemas import HuggingFaceParameters, HuggingFaceRequest
from inference.classifier import Classifier
from inference.encoded_image import EncodedImage
from inference.ranking import top_k
from web import context
from web.context import RequestContext
from web.problem import Problem

_PREFIX = "/models/"
_WHITESPACE = b" \t\r\n"
# No image file begins with it, and each JSON object does.
_OBJECT = b"{"


def other_model(request: RequestContext, served: str) -> Problem | None:
    """Return a 404 if the request is for another model than the one that is served; None for any other request."""
    if request.match.route is None or request.match.route.path != HUGGING_FACE or request.path == _PREFIX + served:
        return None
    return Problem(404, f"There is no model of this name; this service serves {_PREFIX}{served}.")


async def classify(request: Request, classifier: Classifier) -> Response:
    """Classify one image: the file itself, of whatever content type, or JSON with `inputs` and `parameters`.

    Raises:
        Problem: 400, 413, 415, 422, 503.
    """
    check_not_compressed(request)
    image, parameters = _read(await read_body(request))
    function = classifier.manifest.function
    if parameters.function_to_apply not in (None, function):
        raise Problem(
            422,
            f"The field 'function_to_apply' is wrong: this model answers with {function}; leave the field out.",
            field="function_to_apply",
        )
    request_context = context.of(request.scope)
    try:
        _, probabilities = await classifier.classify(request_context.user_id, image, request_context.timing)
    except Problem as problem:
        if problem.field == "image" and isinstance(image, str):
            problem.field = "inputs"
        raise
    request_context.note_answer(1, classifier.manifest.name, classifier.manifest.revision)
    best = top_k(probabilities, classifier.manifest.labels, parameters.top_k or HuggingFaceParameters.DEFAULT_TOP_K)
    return json_response([{"label": label, "score": probability} for _, label, probability in best])


def _read(body: bytes) -> tuple[EncodedImage, HuggingFaceParameters]:
    """Return the image and the parameters; the body tells what it is, since clients send any content type, or none."""
    if not body.removeprefix(BYTE_ORDER_MARK)[:64].lstrip(_WHITESPACE).startswith(_OBJECT):
        return body, HuggingFaceParameters()
    asked = parse_json(body, HuggingFaceRequest)
    return asked.inputs, asked.parameters or HuggingFaceParameters()
