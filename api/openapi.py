"""The one OpenAPI 3.1 document: every route of both versions, with the bearer scheme and the error bodies."""

from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from api.read_route import ReadRoute
from api.routes import ROUTES
from api.schemas import (
    BatchAnswer,
    BatchJson,
    ClassifyAnswer,
    ClassifyAnswerV2,
    ClassifyJson,
    ClassifyRequest,
    Options,
)
from api.uploads import IMAGE_TYPES
from web.problem import MEDIA_TYPE, Problem
from web.routes import Cost, Route

TITLE = "Image classifier"
VERSION = "2.0"
DESCRIPTION = """Send an image, get its most probable labels.

Every call needs an API key: `Authorization: Bearer imc_...`. Answers of the classification routes say in `RateLimit`
where you stand with your limit, and in `Server-Timing` where the time went. Errors are `application/problem+json`
(RFC 9457); their `detail` says what to do.
"""
# The smallest of images: one grey pixel.
A_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="

Json = dict[str, Any]


class ProblemBody(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What to do about it.")
    request_id: str
    field: str | None = Field(None, description="The field that is wrong, where it is one.")


class Document(dict[str, Any]):
    """The document, in the form that BentoML asks for: for `/docs.json`, and for the Bento."""

    def asdict(self) -> Json:
        """As plain JSON."""
        return dict(self)


yaml.add_representer(Document, lambda dumper, document: dumper.represent_dict(document.asdict()))

_ERRORS = {
    400: "The image is damaged or cut off; send the whole file.",
    401: "Send your API key in the header 'Authorization: Bearer imc_...'.",
    403: "This API key lacks the scope 'classify'; ask the operator for a key that has it.",
    404: "There is no model of this name; /v2/models lists those there are.",
    413: "The body is larger than 10485760 bytes; send a smaller image.",
    415: "Set the header Content-Type to what the body is: application/json.",
    422: "The field 'image' is missing; add it to the body.",
    429: "Your limit of 5/minute is reached; send the request again in 41 s.",
    503: "The service is overloaded; send the request again after the time in Retry-After.",
    504: "The request took longer than the time limit of 60 s; send it again, or send a smaller image.",
}
_SHAPES = (
    ClassifyRequest,
    ClassifyJson,
    BatchJson,
    Options,
    ClassifyAnswer,
    ClassifyAnswerV2,
    BatchAnswer,
    ProblemBody,
)


def document(reads: Sequence[ReadRoute]) -> Document:
    """The document.

    Args:
        reads: the routes that only read.
    """
    operations = _classification() | {read.path.replace(":path}", "}"): {"get": read.operation(_ref)} for read in reads}
    paths: dict[str, Json] = {}
    for route in ROUTES:
        if route.summary is not None:
            [method] = (method.lower() for method in route.methods if method != "HEAD")
            operation = _plain_text() if route.version == "service" else operations[route.name][method]
            operation |= {"tags": [route.version], "summary": route.summary}
            operation["responses"] |= _errors(_statuses(route))
            paths.setdefault(route.name, {})[method] = operation | ({"security": []} if route.is_public else {})
    answers = [read.answer for read in reads]
    _, shapes = models_json_schema(
        [(shape, "serialization") for shape in (*_SHAPES, *answers)], ref_template=_ref("{model}")
    )
    key = {"type": "http", "scheme": "bearer", "description": "Your API key, `imc_...`."}
    return Document(
        openapi="3.1.0",
        info={"title": TITLE, "description": DESCRIPTION, "version": VERSION},
        paths=paths,
        components={"schemas": shapes["$defs"], "securitySchemes": {"key": key}},
        security=[{"key": []}],
    )


def _ref(name: str) -> str:
    return f"#/components/schemas/{name}"


def _classification() -> Json:
    json = "application/json"
    image = {"type": "string", "format": "binary", "description": "The image file, or its base64."}
    options = {
        name: {key: value for key, value in schema.items() if key != "title"}
        for name, schema in Options.model_json_schema()["properties"].items()
    }
    v1 = {json: _body(ClassifyRequest, {"image": A_PIXEL})}
    one = {
        "multipart/form-data": _form({"image": image, **options}, "image"),
        json: _body(ClassifyJson, {"image": A_PIXEL, "top_k": 3}),
        **{kind: {"schema": {"type": "string", "format": "binary"}} for kind in IMAGE_TYPES},
    }
    many = {
        "multipart/form-data": _form({"image": {"type": "array", "items": image, "minItems": 1}, **options}, "image"),
        json: _body(BatchJson, {"images": [A_PIXEL, A_PIXEL]}),
    }
    in_query = [
        {"name": name, "in": "query", "required": False, "description": schema.pop("description"), "schema": schema}
        for name, schema in ((name, dict(schema)) for name, schema in options.items())
    ]
    return {
        "/v1/classify": _post("classify", v1, ClassifyAnswer, []),
        "/v2/classify": _post("classify_v2", one, ClassifyAnswerV2, in_query),
        "/v2/classify/batch": _post("classify_batch", many, BatchAnswer, in_query),
    }


def _post(name: str, content: Json, answer: type[BaseModel], parameters: list[Json]) -> Json:
    told = {
        header: {"description": says, "schema": {"type": "string"}}
        for header, says in {
            "X-Request-ID": "The request's id: your own, where you sent one.",
            "RateLimit-Policy": "Your limits.",
            "RateLimit": "What is left of them (draft-ietf-httpapi-ratelimit-headers-10).",
            "Server-Timing": "Where the time went, in ms.",
        }.items()
    }
    done = {
        "description": "The predictions",
        "headers": told,
        "content": {"application/json": {"schema": {"$ref": _ref(answer.__name__)}}},
    }
    operation: Json = {
        "operationId": name,
        "description": answer.__doc__,
        "requestBody": {"required": True, "content": content},
        "responses": {"200": done},
    }
    return {"post": operation | ({"parameters": parameters} if parameters else {})}


def _body(shape: type[BaseModel], example: Json) -> Json:
    return {"schema": {"$ref": _ref(shape.__name__)}, "example": example}


def _form(properties: Json, *required: str) -> Json:
    return {"schema": {"type": "object", "properties": properties, "required": [*required]}}


def _errors(statuses: tuple[int, ...]) -> Json:
    said = {}
    for status in statuses:
        problem = Problem(status, _ERRORS[status])
        example = {**problem.body(), "request_id": "req_019ab2f3c4d5e6f708192a3b4c5"}
        content = {MEDIA_TYPE: {"schema": {"$ref": _ref("ProblemBody")}, "example": example}}
        said[str(status)] = {"description": problem.status.phrase, "content": content}
        if status in (429, 503):
            wait = {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}
            said[str(status)]["headers"] = {"Retry-After": wait}
    return said


def _plain_text() -> Json:
    told = {"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"responses": {"200": told}}


def _statuses(route: Route) -> tuple[int, ...]:
    """The errors that callers of the route should expect."""
    if route.is_public:
        return (503,)
    if route.cost is not Cost.NOTHING:
        return (400, 401, 403, 413, 415, 422, 429, 503, 504)
    return (401, 403, 429, 503) if route.version == "service" else (401, 403, 404, 422, 429, 503, 504)
