"""The app of the routes that only read. It is mounted beside BentoML's own, which are all POST."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from api import documents, model_reads, usage_reads
from api.openapi import Document, document
from inference.classification import Classification
from storage.errors import StorageUnavailable
from storage.store import Store
from web import context
from web.problem import Problem, store_away


def build(store: Store, classification: Callable[[], Classification]) -> Starlette:
    """The app.

    Args:
        store: where the usage log is.
        classification: gives the worker's way to the model, once the worker is up.
    """
    reads = [*model_reads.routes(classification), *usage_reads.routes(store)]
    described = document(reads)
    app = Starlette(
        routes=[*(read.served() for read in reads), *documents.routes(described)],
        exception_handlers={StorageUnavailable: _away, Problem: _said},
    )
    app.state.document = described
    return app


def document_of(app: Starlette) -> Document:
    """The OpenAPI document that the app shows."""
    made = app.state.document
    assert isinstance(made, Document)
    return made


async def _away(request: Request, error: Exception) -> Response:
    assert isinstance(error, StorageUnavailable)
    return context.of(request.scope).response(store_away(error.caller))


async def _said(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return context.of(request.scope).response(error)
