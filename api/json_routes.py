"""The Starlette app of the routes that do not classify. It is mounted beside those that BentoML declares."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from api import documents, key_routes, mcp_route, model_reads, stream_handshake, usage_reads
from api.admin import keys, logs, plans, users
from api.openapi import OpenApiDocument, build_document
from inference.classifier import Classifier
from storage.errors import StorageUnavailable
from storage.policy import Limit
from storage.store import Store
from web import context
from web.problem import Problem, storage_unavailable


def build(store: Store, classifier: Callable[[], Classifier], default_limits: tuple[Limit, ...]) -> Starlette:
    """Build the app.

    Args:
        store: holds the keys, the usage log and the limits.
        classifier: returns the worker's classifier, which exists once the worker has started.
        default_limits: the limits of a new user.
    """
    routes = [
        *model_reads.routes(classifier),
        *usage_reads.routes(store),
        *key_routes.routes(store),
        *users.routes(store, default_limits),
        *keys.routes(store, default_limits),
        *plans.routes(store),
        *logs.routes(store),
    ]
    document = build_document(routes)
    app = Starlette(
        routes=[
            *(route.starlette_route() for route in routes),
            stream_handshake.route(classifier),
            mcp_route.route(),
            *documents.routes(document),
        ],
        exception_handlers={StorageUnavailable: _answer_storage_unavailable, Problem: _answer_problem},
    )
    app.state.document = document
    return app


def document_of(app: Starlette) -> OpenApiDocument:
    """Return the OpenAPI document that the app serves."""
    document = app.state.document
    assert isinstance(document, OpenApiDocument)
    return document


async def _answer_storage_unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, StorageUnavailable)
    return context.of(request.scope).response(storage_unavailable(error.caller))


async def _answer_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return context.of(request.scope).response(error)
