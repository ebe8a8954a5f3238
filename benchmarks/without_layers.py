"""The service with a model that does nothing, and without the layers that `BENCH_WITHOUT` names (see `layers.py`)."""

import os
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

import api.endpoint
from api import v1, v2
from api.body_limits import BodyLimits
from api.endpoint import Endpoint
from api.requests import JSON, read_body, read_json
from api.schemas import ClassifyRequest
from api.uploads import read_one
from auth.authentication import Authentication
from auth.rate_limit import RateLimit
from auth.usage_log import UsageLog
from benchmarks import layers
from benchmarks.peers.null_route import CONSTANT_ANSWER
from benchmarks.stand_ins import FixedCaller, FixedRequestId
from configs.settings import load_settings
from inference.batcher import Predicted
from inference.classifier import Classifier
from inference.decode_pool import DecodePool, DecodeResult
from inference.runner import EmbeddedRunner
from model.images.decode import Decoded
from web.envelope import Envelope

removed = frozenset(filter(None, os.environ["BENCH_WITHOUT"].split(",")))


def _is_removed(layer: layers.Layer) -> bool:
    return layer.name in removed


async def _v1_constant(request: Request, classifier: Classifier) -> Response:  # noqa: ARG001
    await (read_body(request) if _is_removed(layers.READING) else read_json(request, ClassifyRequest))
    return Response(CONSTANT_ANSWER, media_type=JSON)


async def _v2_constant(request: Request, classifier: Classifier) -> Response:  # noqa: ARG001
    await (read_body(request) if _is_removed(layers.READING) else read_one(request))
    return Response(CONSTANT_ANSWER, media_type=JSON)


def _plain(endpoint: Endpoint) -> Endpoint:
    """Replace `classification_endpoint`: return the endpoint as it is."""
    return endpoint


async def _decode(self: DecodePool, *_arguments: object) -> DecodeResult:
    recipe = self._recipe
    blank = np.zeros((recipe.height, recipe.width, 3), np.uint8)
    return DecodeResult(Decoded(blank, recipe.width, recipe.height, "JPEG"), 0.0)


async def _predict(self: EmbeddedRunner, images: Any, user: str) -> Predicted:  # noqa: ARG001
    # The null engine gives every image the same answer; here it is called without the batcher and its thread.
    return Predicted(self._batcher._engine.predict(images), 0.0)


if _is_removed(layers.ANSWER):
    api.endpoint.classification_endpoint = _plain
    v1.classify, v2.classify = _v1_constant, _v2_constant
if _is_removed(layers.DECODE):
    DecodePool.decode = _decode  # type: ignore[method-assign,assignment]
if _is_removed(layers.RUNNER):
    EmbeddedRunner.predict = _predict  # type: ignore[method-assign]

# Imported after the patches above, since the service imports some of these by name.
from benchmarks.null_service import load_null_engine  # noqa: E402
from runtime import http_protocol  # noqa: E402
from service import build  # noqa: E402, TID251 - what is measured is the service itself

if _is_removed(layers.HTTP):
    http_protocol.use = lambda web_sockets: None  # noqa: ARG005 - the name is part of the type

# What replaces each middleware; None: nothing.
STAND_INS: dict[type, tuple[layers.Layer, tuple[type, dict[str, Any]] | None]] = {
    RateLimit: (layers.LIMIT, None),
    UsageLog: (layers.USAGE_LOG, None),
    Authentication: (layers.AUTHENTICATION, (FixedCaller, {})),
    BodyLimits: (layers.BOUNDS, None),
    Envelope: (layers.ENVELOPE, (FixedRequestId, {})),
}
replaced = {middleware: stand_in for middleware, (layer, stand_in) in STAND_INS.items() if _is_removed(layer)}
ImageClassifier = build(load_settings(), load_null_engine, replaced).gateway
