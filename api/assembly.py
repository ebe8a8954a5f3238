"""Puts together what a worker of the gateway serves beside the routes that classify: the middlewares and other routes.

A request passes the middlewares from the outside in: error envelope, usage log, authentication, idempotency key, rate
limit, limits on its body, kept answers. Then comes its route.
"""

from dataclasses import dataclass
from typing import Any

from bentoml import get_current_service
from starlette.applications import Starlette

import api.hugging_face  # noqa: F401 - imported before the first request, which would wait for it
import api.v1  # noqa: F401 - as above
import api.v2  # noqa: F401 - as above
from api import json_routes
from api.body_limits import BodyLimits
from api.classification_routes import refusal
from api.draining import Draining
from api.openapi import OpenApiDocument
from api.streams import StreamOptions
from auth.authentication import Authentication
from auth.failed_logins import FailureLimit
from auth.idempotency import Idempotency
from auth.kept_answers import KeptAnswers
from auth.rate_limit import RateLimit
from auth.usage_log import UsageLog
from configs.settings import Settings
from inference.classifier import Classifier
from runtime.machine import memory_bytes
from storage.errors import StorageUnavailable
from storage.policy import Limit, parse_limits
from storage.store import Store
from web.context import RequestContext
from web.cors import CrossOrigin, Preflight
from web.envelope import Envelope
from web.problem import Problem, storage_unavailable

# Request bodies that one worker holds at a time: this many of the largest, and at most this share of the memory.
BODIES_AT_ONCE, SHARE_OF_MEMORY = 25, 1 / 8


@dataclass(frozen=True)
class Assembled:
    """The parts of the app of one worker.

    Attributes:
        store: keys, limits and the usage log.
        draining: shortens the time limits of requests once the worker ends.
        middlewares: the middlewares with their options, the outermost first.
        others: the app of the routes that do not classify.
        document: the OpenAPI document of all routes.
        stream_options: what all WebSockets share.
    """

    store: Store
    draining: Draining
    middlewares: list[tuple[type, dict[str, Any]]]
    others: Starlette
    document: OpenApiDocument
    stream_options: StreamOptions

    async def check_store(self) -> None:
        """Check that the stores answer.

        Raises:
            Problem: one does not; the problem says which.
        """
        try:
            await self.store.ping()
        except StorageUnavailable as error:
            raise storage_unavailable(error.caller) from None


def assemble(settings: Settings) -> Assembled:
    """Put the parts together."""
    tells_owner = settings.webhook_url is not None
    store = Store(settings.database_url, settings.redis_url, tells_owner=tells_owner)
    draining = Draining(settings.drain_seconds)
    origins = [*filter(None, settings.cors_origins.split(","))]
    others = json_routes.build(store, _classifier, parse_limits(settings.default_limit))
    return Assembled(
        store,
        draining,
        _middlewares(settings, origins, store, draining),
        others,
        json_routes.document_of(others),
        StreamOptions(origins, settings.max_body_bytes, _bytes_at_once(settings), draining),
    )


def _classifier() -> Classifier:
    return get_current_service().classifier


def _refusal(request: RequestContext) -> Problem | None:
    return refusal(request, _classifier())


def _bytes_at_once(settings: Settings) -> int:
    return min(BODIES_AT_ONCE * settings.max_body_bytes, int(SHARE_OF_MEMORY * memory_bytes()))


def _middlewares(
    settings: Settings, origins: list[str], store: Store, draining: Draining
) -> list[tuple[type, dict[str, Any]]]:
    """Return the middlewares with their options, the outermost first."""
    return [
        *([(CrossOrigin, {"origins": origins})] if origins else []),
        (Envelope, {}),
        *([(Preflight, {"origins": origins})] if origins else []),
        (UsageLog, {"store": store}),
        (Authentication, {"store": store, "failures": FailureLimit(Limit.parse(settings.auth_failure_limit))}),
        (Idempotency, {"store": store}),
        (RateLimit, {"store": store, "refusal": _refusal}),
        (
            BodyLimits,
            {
                "max_bytes": settings.max_body_bytes,
                "max_bytes_at_once": _bytes_at_once(settings),
                "draining": draining,
            },
        ),
        (KeptAnswers, {}),
    ]
