"""The routes of the documents that describe the service. Each document is built once."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api import docs_page
from api.openapi import OpenApiDocument


def routes(document: OpenApiDocument) -> list[Route]:
    """Return the routes of the OpenAPI document, and of the page that shows it.

    They replace BentoML's own page at "/", which loads a tracker of a third party.
    """
    page = docs_page.build()
    openapi = JSONResponse(document)
    return [
        *(_constant_route(path, page) for path in ("/", "/docs")),
        *(_constant_route(path, openapi) for path in ("/openapi.json", "/docs.json")),
    ]


def schema_route(schema: dict[str, Any]) -> Route:
    """Return the route of the service's schema, which BentoML's own client requests first."""
    return _constant_route("/schema.json", JSONResponse(schema))


def _constant_route(path: str, response: Response) -> Route:
    async def send(_request: Request) -> Response:
        return response

    return Route(path, send)
