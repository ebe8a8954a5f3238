"""Builds the OpenAPI 3.1 document: all routes of both versions, the bearer scheme and the error bodies."""

from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from api import classify_operations
from api.json_route import JsonRoute
from api.openapi_parts import Json, reference
from api.routes import ROUTES
from auth.idempotency import UNDER_WAY
from web.problem import MEDIA_TYPE, Problem
from web.routes import Cost, Route

TITLE = "Image classifier"
# The version of this project, as pyproject.toml has it; a Bento ships without that file.
VERSION = "0.1.0"
DESCRIPTION = """Send an image, get its most probable labels.

Every call needs an API key: `Authorization: Bearer imc_...`. In the answers of the classification routes, `RateLimit`
says what is left of your limits, and `Server-Timing` how long each stage took. Errors are `application/problem+json`
(RFC 9457); their `detail` says what to do.
"""


class ProblemBody(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What is wrong, and what to do.")
    request_id: str
    retry_after: int | None = Field(None, description="Seconds to wait before the next try; as the header Retry-After.")
    field: str | None = Field(None, description="The wrong field of the request, if one is wrong.")


class OpenApiDocument(dict[str, Any]):
    """The OpenAPI document, with the method that BentoML calls, both for `/docs.json` and for the Bento."""

    def asdict(self) -> Json:
        """Return the document as a plain dictionary."""
        return dict(self)


yaml.add_representer(OpenApiDocument, lambda dumper, document: dumper.represent_dict(document.asdict()))

# An example of each error.
_ERRORS = {
    400: "The image is damaged or cut off; send the whole file.",
    401: "Send your API key in the header 'Authorization: Bearer imc_...'.",
    403: "This API key lacks the scope 'classify'; ask the operator for a key that has it.",
    404: "There is no model of this name; /v2/models lists those there are.",
    409: "The key is revoked or expired; create a new one.",
    412: "It was changed meanwhile; GET it again, and send the new ETag in If-Match.",
    413: "The body is larger than 10485760 bytes; send a smaller image.",
    415: "Set the header Content-Type to what the body is: application/json.",
    422: "The field 'image' is missing; add it to the body.",
    426: "Open a WebSocket at this path, version 13, by a WebSocket library; a plain request has no answer here.",
    429: "Your limit of 5/minute is reached; send the request again in 41 s.",
    503: "The service is overloaded; send the request again after the time in Retry-After.",
    504: "The request took longer than the time limit of 60 s; send it again, or send a smaller image.",
}


def build_document(routes: Sequence[JsonRoute]) -> OpenApiDocument:
    """Build the document.

    Args:
        routes: the routes that do not classify.
    """
    operations = classify_operations.operations()
    for one in routes:
        operations.setdefault(one.name, {})[one.method.lower()] = one.operation()
    paths: dict[str, Json] = {}
    for route in ROUTES:
        if route.summary is not None:
            method = next(method.lower() for method in route.methods if method != "HEAD")
            operation = _plain_text_operation() if route.version == "service" else operations[route.name][method]
            paths.setdefault(route.name, {})[method] = _complete(operation, route)
    key = {"type": "http", "scheme": "bearer", "description": "Your API key, `imc_...`."}
    return OpenApiDocument(
        openapi="3.1.0",
        info={"title": TITLE, "description": DESCRIPTION, "version": VERSION},
        paths=paths,
        components={"schemas": _schemas(routes), "securitySchemes": {"key": key}},
        security=[{"key": []}],
    )


def _complete(operation: Json, route: Route) -> Json:
    """Return the operation with its tag, its title, its errors, and whether it needs a key."""
    complete = {**operation, "tags": [route.version], "summary": route.summary}
    if route.scope is not None:
        needed = f"The key needs the scope `{route.scope}`."
        complete["description"] = " ".join(filter(None, (operation.get("description"), needed)))
    complete["responses"] = {**operation["responses"], **_error_responses(route)}
    if route.is_public:
        complete["security"] = []
    return complete


def _schemas(routes: Sequence[JsonRoute]) -> Json:
    of_routes = (model for route in routes for model in (route.answer, route.body) if model is not None)
    models: list[type[BaseModel]] = [*classify_operations.SCHEMAS, ProblemBody, *of_routes]
    _, schemas = models_json_schema([(model, "serialization") for model in models], ref_template=reference("{model}"))
    return dict(schemas["$defs"])


def _plain_text_operation() -> Json:
    return {"responses": {"200": {"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}}}}


def _expected_errors(route: Route) -> tuple[int, ...]:
    """Return the statuses of the errors that callers of the route should expect."""
    if route.is_public:
        return (503,)
    if route.is_web_socket:
        return (401, 403, 422, 426, 429, 503, 504)
    if route.cost is not Cost.NOTHING:
        unknown = (404,) if "{" in route.path else ()
        return (400, 401, 403, *unknown, 409, 413, 415, 422, 429, 503, 504)
    if route.version == "service":
        return (401, 403, 429, 503)
    if route.methods == ("GET",):
        return (401, 403, 404, 422, 429, 503, 504)
    changed = (412,) if route.scope == "admin" and route.methods in (("PATCH",), ("DELETE",)) else ()
    return (400, 401, 403, 404, 409, *changed, 413, 415, 422, 429, 503, 504)


def _error_responses(route: Route) -> Json:
    return {str(status): _error_response(status, route) for status in _expected_errors(route)}


def _error_response(status: int, route: Route) -> Json:
    is_under_way = status == 409 and route.cost is not Cost.NOTHING
    is_temporary = is_under_way or status in (429, 503)
    detail = UNDER_WAY if is_under_way else _ERRORS[status]
    problem = Problem(status, detail, {"Retry-After": "41"} if is_temporary else {})
    example = {**problem.body(), "request_id": "req_019ab2f3c4d5e6f708192a3b4c5"}
    content = {MEDIA_TYPE: {"schema": {"$ref": reference("ProblemBody")}, "example": example}}
    response: Json = {"description": problem.status.phrase, "content": content}
    if is_temporary:
        wait = {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}
        response["headers"] = {"Retry-After": wait}
    return response
