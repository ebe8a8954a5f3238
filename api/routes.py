"""The table of routes. All routes are declared here, BentoML's own too; any other path is unknown.

Authentication, the rate limit, the documentation, and the path names in metrics, access log and usage log follow it.
"""

from pages import files
from web.routes import Cost, Route, Routes

# The name of the model is part of the path, and may contain a slash.
HUGGING_FACE = "/models/{name:path}"
# The files that the page at /docs loads; BentoML serves them.
ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-light-32x32.png")
# The folder of the files that the page at / loads.
PAGE_FILES = "/static_content/page"


def _classification(path: str, version: str, summary: str, cost: Cost) -> Route:
    return Route(methods=("POST",), path=path, version=version, summary=summary, scope="classify", cost=cost)


def _read(path: str, version: str, summary: str, scope: str | None = None) -> Route:
    return Route(methods=("GET",), path=path, version=version, summary=summary, scope=scope)


def _service(path: str, summary: str | None = None) -> Route:
    """Return a route of the service itself, which needs no key."""
    return Route(methods=("GET", "HEAD"), path=path, version="service", summary=summary, is_public=True)


# Whoever watches the service must see an outage while it lasts.
_METRICS = Route(
    methods=("GET", "HEAD"),
    path="/metrics",
    version="service",
    summary="Prometheus metrics; the key needs the scope `metrics`",
    scope="metrics",
    outlasts_database=True,
)


ROUTES = Routes(
    _classification("/v1/classify", "v1", "Classify one image", Cost.ONE_IMAGE),
    _classification("/v2/classify", "v2", "Classify one image", Cost.ONE_IMAGE),
    _classification("/v2/classify/batch", "v2", "Classify several images", Cost.EACH_IMAGE),
    Route(
        methods=("POST",),
        path=HUGGING_FACE,
        version="hugging face",
        summary="Classify one image, in the shape of Hugging Face's inference API",
        scope="classify",
        cost=Cost.ONE_IMAGE,
        has_error_text=True,
    ),
    _read("/v1/model/info", "v1", "Which model answers"),
    _read("/v2/models", "v2", "Every model of the service"),
    _read("/v2/models/{name:path}", "v2", "One model"),
    _read("/v2/keys", "v2", "Your own keys", "keys"),
    # Before the pattern: "self" is no key's id. Any key may revoke itself.
    Route(methods=("DELETE",), path="/v2/keys/self", version="v2", summary="Revoke the key that is sent"),
    Route(methods=("DELETE",), path="/v2/keys/{id}", version="v2", summary="Revoke one of your keys", scope="keys"),
    Route(
        methods=("POST",), path="/v2/keys/{id}/rotate", version="v2", summary="Replace one of your keys", scope="keys"
    ),
    _read("/v1/usage", "v1", "What you have used, all together", "usage"),
    _read("/v2/usage", "v2", "What you have used, in buckets of time", "usage"),
    _read("/v2/limits", "v2", "What is left of your limits", "usage"),
    _service("/livez", "Whether the process lives"),
    _service("/readyz", "Whether the model and the database answer"),
    _service("/healthz", "The same as /livez"),
    _METRICS,
    _service("/"),
    _service("/docs"),
    _service("/openapi.json"),
    _service("/docs.json"),
    _service("/schema.json"),
    *(_service(f"/static_content/{file}") for file in ASSETS),
    *(_service(f"{PAGE_FILES}/{file}") for file in files.ASSETS),
)
