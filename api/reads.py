"""The routes that only read: BentoML's own are POST, so these are a FastAPI app mounted beside them."""

import re
from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from api import documents, model_reads, usage_reads
from api.classification import Classification
from api.openapi import Document, document
from problems import request_id
from problems.problem import Problem, store_away
from storage.errors import StorageUnavailable
from storage.store import Store

_ZONE_BEHIND_A_SPACE = re.compile(r"T[0-9:.]{2,20} [0-9]{2}(:?[0-9]{2})?$", re.IGNORECASE)


def build(store: Store, classification: Callable[[], Classification]) -> FastAPI:
    """The app.

    Args:
        store: where the usage log is.
        classification: gives the worker's way to the model, once the worker is up.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(RequestValidationError, _wrong_field)
    app.add_exception_handler(StorageUnavailable, _away)
    app.add_exception_handler(Problem, _said)
    model_reads.add_routes(app, classification)
    usage_reads.add_routes(app, store)
    app.state.document = document(app)
    app.router.routes.extend(documents.routes(app.state.document))
    return app


def document_of(app: FastAPI) -> Document:
    """The OpenAPI document that the app shows."""
    made = app.state.document
    assert isinstance(made, Document)
    return made


async def _wrong_field(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    detail = f"The field '{field}' is wrong: {first['msg']}."
    if _ZONE_BEHIND_A_SPACE.search(str(first["input"])):
        detail = f"The field '{field}' is wrong: a '+' in a query means a space; write the one before the zone as %2B."
    return Problem(422, detail, field=field).response(request_id.shown(request.scope))


async def _away(request: Request, error: Exception) -> Response:
    assert isinstance(error, StorageUnavailable)
    return store_away(error.caller).response(request_id.shown(request.scope))


async def _said(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response(request_id.shown(request.scope))
