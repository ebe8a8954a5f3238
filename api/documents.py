"""What describes the service, for people and for clients: worked out once, and sent as it is to whoever asks."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api import docs_page
from api.openapi import Document


def routes(document: Document) -> list[Route]:
    """The routes of the OpenAPI document, and of the page that shows it.

    BentoML's own page at "/" loads a tracker of somebody else's.
    """
    page = docs_page.build()
    described = JSONResponse(document)
    return [
        *(_ready(path, page) for path in ("/", "/docs")),
        *(_ready(path, described) for path in ("/openapi.json", "/docs.json")),
    ]


def schema(of_service: dict[str, Any]) -> Route:
    """The route of what BentoML's own client asks for first."""
    return _ready("/schema.json", JSONResponse(of_service))


def _ready(path: str, made: Response) -> Route:
    async def send(_request: Request) -> Response:
        return made

    return Route(path, send)
