"""The table of routes: finds the route of each request. A request without a route reaches no handler."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from urllib.parse import unquote

from web.problem import Problem

UNKNOWN = "/(unknown)"
# The longest path that is matched with parameters: a percent-encoded folder name and some more. Longer ones take time.
MOST_BYTES = 1000


class Cost(Enum):
    """How many hits a request costs its user."""

    NOTHING = 0
    ONE_IMAGE = 1
    EACH_IMAGE = 2
    """One hit for each image in the body; the route counts them when it has read the body."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """A path with the methods that it takes together. By default it needs a live API key, with any scopes.

    Args:
        methods: the HTTP methods.
        path: the path. `{name}` stands for one segment, `{name:path}` for one or more.
        version: the version of the API that the route belongs to, or "service".
        summary: the title in the documentation; None if the documentation leaves the route out.
        scope: the scope that a key needs.
        cost: how many hits a request costs.
        is_public: whether the route needs no key.
        has_error_text: whether errors have their detail also as `error`, as clients of Hugging Face's API read it.
        outlasts_database: whether the route answers while the database is away, to a key that was valid recently, and
            without a usage row.
        is_web_socket: whether the route is opened by a WebSocket handshake.
        is_json_rpc: whether the route speaks JSON-RPC, so that its errors in JSON are not problems.
    """

    methods: tuple[str, ...]
    path: str
    version: str
    summary: str | None = None
    scope: str | None = None
    cost: Cost = Cost.NOTHING
    is_public: bool = False
    has_error_text: bool = False
    outlasts_database: bool = False
    is_web_socket: bool = False
    is_json_rpc: bool = False

    @property
    def name(self) -> str:
        """The name of the route in metrics, logs, the usage log and the documentation."""
        return route_name(self.path)


def route_name(path: str) -> str:
    """Return the name of a route with this path: `{name:path}` becomes `{name}`."""
    return path.replace(":path}", "}")


@dataclass(frozen=True)
class Match:
    """The result of matching a request with the table.

    Args:
        name: the name of the path.
        route: the route; None if the path is unknown, or does not take the method.
        methods: the methods that the path takes; none if it is unknown.
        is_public: whether the path needs no key.
        has_error_text: whether errors have their detail also as `error`.
        is_handshake: whether the request is a WebSocket handshake, and the path has no WebSocket.
    """

    name: str = UNKNOWN
    route: Route | None = None
    methods: tuple[str, ...] = ()
    is_public: bool = False
    has_error_text: bool = False
    is_handshake: bool = False

    def require_route(self) -> Route:
        """Return the route.

        Raises:
            Problem: 404, the path is unknown; 405, it does not take the method.
        """
        if self.route is not None:
            return self.route
        if not self.methods:
            raise Problem(404, "There is nothing at this path; /docs lists every route.")
        detail = "This path does not take this method; the Allow header names those it takes."
        if self.is_handshake:
            detail = "There is no WebSocket at this path; send a request by a method that the Allow header names."
        raise Problem(405, detail, {"Allow": ", ".join(self.methods)})


_NO_MATCH = Match()


class _Path:
    """The routes of one path, with the match for each method made in advance."""

    def __init__(self, routes: list[Route]) -> None:
        name, is_public = routes[0].name, all(route.is_public for route in routes)
        methods = tuple(method for route in routes for method in route.methods)
        has_error_text = any(route.has_error_text for route in routes)
        self._other_method = Match(name, None, methods, is_public, has_error_text)
        self._matches = {
            method: replace(self._other_method, route=route) for route in routes for method in route.methods
        }

    def match(self, method: str) -> Match:
        return self._matches.get(method, self._other_method)


class Routes:
    """The table of routes.

    A path is known only exactly as it is declared. A path that would have to be decoded first is unknown, so no code
    further inside can understand it differently. Only the value of a parameter may be percent-encoded.

    Args:
        routes: all routes.
    """

    def __init__(self, *routes: Route) -> None:
        self._routes = routes
        by_path: dict[str, list[Route]] = {}
        for route in routes:
            by_path.setdefault(route.path, []).append(route)
        self._exact: dict[bytes, _Path] = {}
        self._patterns: list[tuple[Callable[[str], bool], _Path]] = []
        for path, declared in by_path.items():
            if "{" in path:
                self._patterns.append((_pattern(path), _Path(declared)))
            else:
                self._exact[path.encode()] = _Path(declared)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def match(self, method: str, raw_path: bytes) -> Match:
        """Match a request.

        Args:
            method: the HTTP method; empty for none that a path takes.
            raw_path: the path as received, still percent-encoded.
        """
        found = self._exact.get(raw_path) or self._by_pattern(raw_path)
        return _NO_MATCH if found is None else found.match(method)

    def _by_pattern(self, raw_path: bytes) -> _Path | None:
        if len(raw_path) > MOST_BYTES:
            return None
        text = raw_path.decode("latin-1")
        # Another way to write a path without parameters. The routers further inside would take it for that path.
        if unquote(text).encode() in self._exact:
            return None
        return next((path for matches, path in self._patterns if matches(text)), None)


def _pattern(path: str) -> Callable[[str], bool]:
    """Return a function that tells whether a raw path matches this path, whose parameters stand for any valid value."""
    parts = re.split(r"(\{\w+(?::path)?\})", path)
    several = [parameter.endswith(":path}") for parameter in parts[1::2]]
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = ("(.+)" if is_several else "([^/]+)" for is_several in several)
    pattern = re.compile("".join(parts))

    def matches(raw_path: str) -> bool:
        found = pattern.fullmatch(raw_path)
        if found is None:
            return False
        values = [unquote(value) for value in found.groups()]
        return all(_is_clean(value, is_several) for value, is_several in zip(values, several, strict=True))

    return matches


def _is_clean(value: str, is_several: bool) -> bool:
    segments = value.split("/") if is_several else [value]
    # `isprintable` is false for control characters and other invisible ones.
    return value.isprintable() and all(
        segment not in ("", ".", "..") and "/" not in segment and segment == segment.strip() for segment in segments
    )
