"""Describes the classification routes for the OpenAPI document: their bodies, parameters and answers."""

from pydantic import BaseModel

from api.json_lines import MEDIA_TYPE as JSON_LINES
from api.openapi_parts import Json, query_parameter, reference
from api.schemas import (
    BatchAnswer,
    BatchJson,
    BatchLine,
    ClassifyAnswer,
    ClassifyAnswerV2,
    ClassifyJson,
    ClassifyRequest,
    HuggingFaceAnswer,
    HuggingFaceRequest,
    Options,
)
from api.uploads import IMAGE_TYPES
from auth.idempotency import MOST_CHARACTERS
from auth.kept_answers import HEADER

JSON, MULTIPART = "application/json", "multipart/form-data"
# The smallest image: one grey pixel.
A_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="

SCHEMAS: tuple[type[BaseModel], ...] = (
    ClassifyRequest,
    ClassifyJson,
    BatchJson,
    Options,
    ClassifyAnswer,
    ClassifyAnswerV2,
    BatchAnswer,
    BatchLine,
    HuggingFaceRequest,
    HuggingFaceAnswer,
)
_BINARY = {"type": "string", "format": "binary"}
_MODEL_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The name of the served model; it may contain a slash.",
    "schema": {"type": "string"},
}
# OpenAPI has no words for WebSockets.
_STREAM = """Opens a WebSocket (RFC 6455). Send each image as a binary message. Each gets one answer, as text, in order:
the JSON of `/v2/classify`, or a problem. After a problem of one image the WebSocket stays open.

The key goes in the header `Authorization`. Browsers can't set it: there, offer the subprotocol `bearer.imc_...`.
"""
_IDEMPOTENCY_KEY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": (
        "A new one for each classification, such as a UUID. If you send the request again with it within 24 hours, you "
        "get the same answer, without a hit."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS, "pattern": "^[!#-~][!-~]*$"},
    "example": "8e03978e-40d5-43e8-bc93-6894a57f9324",
}
_HEADERS = {
    "X-Request-ID": "The id of the request: your own id if you sent one.",
    "RateLimit-Policy": "Your limits.",
    "RateLimit": "What is left of your limits (draft-ietf-httpapi-ratelimit-headers-10).",
    "Server-Timing": "How long each stage took, in ms.",
    "Idempotency-Replayed": "`true` if the answer is that of an earlier request with the same `Idempotency-Key`.",
}


def operations() -> dict[str, Json]:
    """Return the operations of each classification route, by path."""
    options = _options()
    in_query = [query_parameter(name, schema) for name, schema in options.items()]
    return {
        "/v1/classify": _post("classify", {JSON: _json_body(ClassifyRequest, {"image": A_PIXEL})}, ClassifyAnswer, []),
        "/v2/classify": _post("classify_v2", _one_image(options), ClassifyAnswerV2, in_query),
        "/models/{name}": _post("classify_hugging_face", _any_file(), HuggingFaceAnswer, [_MODEL_NAME]),
        "/v2/classify/batch": _batch(options, in_query),
        "/v2/stream": {"get": _stream(in_query)},
    }


def _batch(options: Json, in_query: list[Json]) -> Json:
    operation = _post("classify_batch", _several_images(options), BatchAnswer, in_query)
    line = {"schema": {"$ref": reference(BatchLine.__name__)}}
    operation["post"]["responses"]["200"]["content"][JSON_LINES] = line
    return operation


def _stream(parameters: list[Json]) -> Json:
    return {
        "operationId": "stream",
        "description": _STREAM,
        "parameters": parameters,
        "responses": {"101": {"description": "The WebSocket is open."}},
    }


def _options() -> Json:
    """Return the schemas of the options, by name, without the default of `top_k`: generated clients would send it.

    A model of fewer than 5 labels answers a request without `top_k`, and refuses one that asks for 5.
    """
    properties: Json = Options.model_json_schema()["properties"]
    del properties["top_k"]["default"]
    return properties


def _one_image(options: Json) -> Json:
    return {
        MULTIPART: _form("image", _file_field(), options),
        JSON: _json_body(ClassifyJson, {"image": A_PIXEL, "top_k": 3}),
        **{image_type: {"schema": _BINARY} for image_type in IMAGE_TYPES},
    }


def _any_file() -> Json:
    return {
        **{image_type: {"schema": _BINARY} for image_type in IMAGE_TYPES},
        JSON: _json_body(HuggingFaceRequest, {"inputs": A_PIXEL, "parameters": {"top_k": 3}}),
    }


def _several_images(options: Json) -> Json:
    files = {"type": "array", "items": _file_field(), "minItems": 1}
    return {
        MULTIPART: _form("image", files, options),
        JSON: _json_body(BatchJson, {"images": [A_PIXEL, A_PIXEL]}),
    }


def _file_field() -> Json:
    return {**_BINARY, "description": "The image file, or its base64."}


def _form(file_field: str, schema: Json, options: Json) -> Json:
    fields = {file_field: schema}
    for name, option in options.items():
        fields[name] = {key: value for key, value in option.items() if key != "title"}
    return {"schema": {"type": "object", "properties": fields, "required": [file_field]}}


def _json_body(schema: type[BaseModel], example: Json) -> Json:
    return {"schema": {"$ref": reference(schema.__name__)}, "example": example}


def _post(operation_id: str, content: Json, answer: type[BaseModel], parameters: list[Json]) -> Json:
    success = {
        "description": "The predictions",
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()},
        "content": {JSON: {"schema": {"$ref": reference(answer.__name__)}}},
    }
    operation: Json = {
        "operationId": operation_id,
        "description": answer.__doc__,
        "parameters": [*parameters, _IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": content},
        "responses": {"200": success},
    }
    return {"post": operation}
