"""The table of routes. All routes are declared here, BentoML's own too; any other path is unknown.

Authentication, the rate limit, the documentation, and the path names in metrics, access log and usage log follow it.
"""

from pages import files
from web.routes import Cost, Match, Route, Routes

# The name of the model is part of the path, and may contain a slash.
HUGGING_FACE = "/models/{name:path}"
STREAM = "/v2/stream"
MCP = "/mcp"
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


def _admin(method: str, path: str, summary: str) -> Route:
    """Return a route of operators."""
    return Route(methods=(method,), path=f"/v2/admin/{path}", version="v2", summary=summary, scope="admin")


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
        methods=("GET",),
        path=STREAM,
        version="v2",
        summary="Classify a stream of images over a WebSocket",
        scope="classify",
        is_web_socket=True,
    ),
    Route(
        methods=("POST",),
        path=HUGGING_FACE,
        version="hugging face",
        summary="Classify one image, in the shape of Hugging Face's inference API",
        scope="classify",
        cost=Cost.ONE_IMAGE,
        has_error_text=True,
    ),
    # Without a title: clients of MCP ask the service itself what it can do. Each tool asks other routes of this table.
    Route(methods=("POST",), path=MCP, version="mcp", is_json_rpc=True),
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
    _admin("GET", "users", "All users"),
    _admin("POST", "users", "Create a user"),
    _admin("GET", "users/{id}", "One user"),
    _admin("PATCH", "users/{id}", "Change a user: address, limits, quotas, plan, customer, disabled or not"),
    _admin("DELETE", "users/{id}", "Erase a user"),
    _admin("GET", "keys", "The keys of all users"),
    _admin("POST", "keys", "Create a key, and its user if there is none"),
    _admin("GET", "keys/{id}", "One key"),
    _admin("DELETE", "keys/{id}", "Revoke any key"),
    _admin("POST", "keys/{id}/rotate", "Replace any key"),
    _admin("GET", "plans", "All plans"),
    _admin("POST", "plans", "Create a plan"),
    _admin("GET", "plans/{name}", "One plan"),
    _admin("PATCH", "plans/{name}", "Change a plan: limits, quotas, price"),
    _admin("GET", "usage", "What a user has used, in buckets of time"),
    _admin("GET", "audit", "Every change of users, keys and plans"),
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

# Each message of a WebSocket is a request of its own, which nobody can send otherwise: it is in no table.
MESSAGE = Match(
    name=STREAM,
    route=_classification(STREAM, "v2", "Classify one image of a stream", Cost.ONE_IMAGE),
    methods=("GET",),
)
