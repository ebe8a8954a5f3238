"""The page that shows all routes and lets people try them: Swagger UI, from the files that BentoML includes."""

import base64
import hashlib
import json
from html import escape

from starlette.responses import HTMLResponse

from api.openapi import TITLE
from api.routes import ASSETS

# `persistAuthorization`: a key that somebody types in is not stored.
_SETTINGS = {
    "url": "./openapi.json",
    "dom_id": "#swagger-ui",
    "deepLinking": True,
    "showExtensions": True,
    "persistAuthorization": False,
}
_SCRIPT = f"SwaggerUIBundle({json.dumps(_SETTINGS)});"


def build() -> HTMLResponse:
    """Return the page. Its policy lets the browser run its inline script and scripts of this server, nothing else."""
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = [
        "default-src 'none'",
        f"script-src 'self' 'sha256-{digest}'",
        # Swagger UI sets inline styles.
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    return HTMLResponse(_page(), headers={"Content-Security-Policy": "; ".join(policy)})


def _page() -> str:
    script, style, icon = (f"./static_content/{file}" for file in ASSETS)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(TITLE)}</title>
<link rel="stylesheet" href="{style}">
<link rel="icon" href="{icon}">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{script}"></script>
<script>{_SCRIPT}</script>
</body>
</html>
"""
