"""Which requests there are: one table of routes, and what is in no row of it reaches no handler."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote

from web.problem import Problem

UNKNOWN = "/(unknown)"
# Of a path with parameters: the name of a folder, percent-encoded, and its surroundings. To read more takes time.
MOST_BYTES = 1000


class Cost(Enum):
    """What a request takes from its user's limit."""

    NOTHING = 0
    ONE_IMAGE = 1
    EACH_IMAGE = 2
    """As many as the body holds, which the route counts when it has read it."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """What can be asked of a path. Unless it says otherwise, it takes any live key, and no stranger.

    Args:
        methods: the methods that it takes.
        path: its path. `{name}` in it stands for one segment, `{name:path}` for several.
        version: the version of the API that it belongs to, or "service".
        summary: what the documentation calls it; None for what is not described there.
        scope: the scope that a key needs.
        cost: what it takes from the limit.
        is_public: whether it is open to all.
    """

    methods: tuple[str, ...]
    path: str
    version: str
    summary: str | None = None
    scope: str | None = None
    cost: Cost = Cost.NOTHING
    is_public: bool = False

    @property
    def name(self) -> str:
        """What the route goes by in metrics, logs, the ledger and the documentation."""
        return self.path.replace(":path}", "}")


@dataclass(frozen=True)
class Match:
    """What a request was found to ask for.

    Args:
        name: the name of its path.
        route: its route; None where the path is unknown, or does not take the method.
        methods: the methods that the path takes; none where it is unknown.
        is_public: whether the path is open to all.
        is_handshake: whether a WebSocket was asked for, which no path takes.
    """

    name: str = UNKNOWN
    route: Route | None = None
    methods: tuple[str, ...] = ()
    is_public: bool = False
    is_handshake: bool = False

    def required(self) -> Route:
        """The route.

        Raises:
            Problem: 404, 405.
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
    """The routes of one path, with an answer ready for each method."""

    def __init__(self, routes: list[Route]) -> None:
        name, is_public = routes[0].name, all(route.is_public for route in routes)
        methods = tuple(method for route in routes for method in route.methods)
        self._matches = {method: Match(name, route, methods, is_public) for route in routes for method in route.methods}
        self._other_method = Match(name, None, methods, is_public)

    def match(self, method: str) -> Match:
        return self._matches.get(method, self._other_method)


class Routes:
    """The table.

    A path is known exactly as it is declared. One that would have to be decoded first is unknown, so that nobody down
    the line can read it another way; only what stands for a parameter may be percent-encoded.
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
        """What a request asks for, by its path as it came over the wire."""
        found = self._exact.get(raw_path) or self._by_pattern(raw_path)
        return _NO_MATCH if found is None else found.match(method)

    def _by_pattern(self, raw_path: bytes) -> _Path | None:
        if len(raw_path) > MOST_BYTES:
            return None
        written = raw_path.decode("latin-1")
        return next((path for fits, path in self._patterns if fits(written)), None)


def _pattern(path: str) -> Callable[[str], bool]:
    """Tells whether a path, as it came, is that one with something in place of its parameters."""
    parts = re.split(r"(\{\w+(?::path)?\})", path)
    several = [parameter.endswith(":path}") for parameter in parts[1::2]]
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = ("(.+)" if is_several else "([^/]+)" for is_several in several)
    pattern = re.compile("".join(parts))

    def fits(written: str) -> bool:
        found = pattern.fullmatch(written)
        if found is None:
            return False
        values = [unquote(value) for value in found.groups()]
        return all(_is_clean(value, is_several) for value, is_several in zip(values, several, strict=True))

    return fits


def _is_clean(value: str, is_several: bool) -> bool:
    segments = value.split("/") if is_several else [value]
    # Control characters, and what else can't be seen, are not printable.
    return value.isprintable() and all(
        segment not in ("", ".", "..") and "/" not in segment and segment == segment.strip() for segment in segments
    )
