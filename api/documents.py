"""The routes of the documents that describe the service, each built once, and of the page for people."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from api import docs_page
from api.openapi import TITLE, VERSION, OpenApiDocument
from api.routes import PAGE_FILES
from pages import files
from pages.accept import prefers_html


def routes(document: OpenApiDocument) -> list[BaseRoute]:
    """Return the routes of the OpenAPI document, of the page that shows it, and of the page for people.

    They replace BentoML's own page at "/", which loads a tracker of a third party.
    """
    openapi = JSONResponse(document)
    return [
        _welcome_route(),
        _constant_route("/docs", docs_page.build()),
        *(_constant_route(path, openapi) for path in ("/openapi.json", "/docs.json")),
        Mount(PAGE_FILES, _send_page_file),
    ]


def schema_route(schema: dict[str, Any]) -> Route:
    """Return the route of the service's schema, which BentoML's own client requests first."""
    return _constant_route("/schema.json", JSONResponse(schema))


def _constant_route(path: str, response: Response) -> Route:
    async def send(_request: Request) -> Response:
        return response

    return Route(path, send)


def _welcome_route() -> Route:
    welcome = JSONResponse({"message": TITLE, "version": VERSION, "docs": "/docs"}, headers={"Vary": "Accept"})

    async def send(request: Request) -> Response:
        """Return the page to a browser, and JSON to any other sender."""
        if prefers_html(request.headers.get("accept", "")):
            return files.read(files.INDEX).response(request.headers)
        return welcome

    return Route("/", send)


async def _send_page_file(scope: Scope, receive: Receive, send: Send) -> None:
    """Send a file that the page loads. The table of routes lets only known names come here."""
    request = Request(scope)
    name = request.url.path.rpartition("/")[2]
    await files.read(name).response(request.headers)(scope, receive, send)
