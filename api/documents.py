"""What describes the service, for people and for clients: worked out once, and sent as it is to whoever asks."""

from typing import Any

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.openapi import TITLE, Document
from api.routes import ASSETS


def routes(document: Document) -> list[Route]:
    """The routes of the OpenAPI document, and of the page that shows it.

    BentoML's own page at "/" loads a tracker of somebody else's.
    """
    script, style, icon = (f"./static_content/{file}" for file in ASSETS)
    page = get_swagger_ui_html(
        openapi_url="./openapi.json",
        title=TITLE,
        swagger_js_url=script,
        swagger_css_url=style,
        swagger_favicon_url=icon,
        swagger_ui_parameters={"persistAuthorization": True},
    )
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
        return Response(made.body, media_type=made.media_type)

    return Route(path, send)
