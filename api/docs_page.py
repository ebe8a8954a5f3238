"""The page that shows every route and lets people try them: Swagger UI, out of what BentoML brings along."""

import base64
import hashlib
import re

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse

from api.openapi import TITLE
from api.routes import ASSETS


def build() -> HTMLResponse:
    """The page, with a policy that lets a browser run its one script and what lies on this server, and nothing else."""
    script, style, icon = (f"./static_content/{file}" for file in ASSETS)
    page = get_swagger_ui_html(
        openapi_url="./openapi.json",
        title=TITLE,
        swagger_js_url=script,
        swagger_css_url=style,
        swagger_favicon_url=icon,
        # A key that is typed in is forgotten with the page.
        swagger_ui_parameters={"persistAuthorization": False},
    )
    [inline] = re.findall(rb"<script>(.*?)</script>", bytes(page.body), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline).digest()).decode()
    page.headers["Content-Security-Policy"] = "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' 'sha256-{digest}'",
            # Swagger UI gives its elements styles as it draws them.
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
    return page
