"""The gate: a route is the exact path that is declared, and whatever else is asked reaches nothing that computes."""

import os
from collections.abc import Callable
from urllib.parse import unquote

import pytest

from api.routes import ROUTES
from tests.gate_callers import (
    ASKED,
    NAMES_ONE,
    SOME,
    LoggedRows,
    body_of,
    callers,
    check_is_the_gates,
    hits,
    may,
    model,
    path_of,
    status_of,
    usage_log,
)
from tests.odd_paths import RAW, WAYS, mutations
from tests.wire import Wire
from web.routes import UNKNOWN, Cost, Route

__all__ = ["callers", "hits", "model", "usage_log"]

# One route of each path: what is no path of ours is so for every method.
PATHS = list({route.path: route for route in ROUTES}.values())
PATH_IDS = [f"{route.methods[0]} {route.name}" for route in PATHS]
# `make torture` tries every odd path of every route; `make test` one in three, others for each route.
ONE_IN = 1 if os.environ.get("TORTURE") else 3


@pytest.mark.parametrize("route", PATHS, ids=PATH_IDS)
def test_no_mutation_of_a_path_is_a_route(
    callers: dict[str, Wire], model: str, route: Route, usage_log: Callable[[], LoggedRows], hits: Callable[[], int]
) -> None:
    path, method = path_of(route, model), route.methods[0]
    made = mutations(path)
    assert len(made) > 40
    asked = 0
    for mutated in sorted(made)[PATHS.index(route) % ONE_IN :: ONE_IN]:
        # A model's name may be percent-encoded, as in every API.
        is_the_same = route.path != path and mutated.startswith("/v2/models/") and unquote(mutated) == path
        # The name of a model or a key may be any other, which is unknown to whom the route is for.
        named = ROUTES.match(method, mutated.encode()).route
        for caller in SOME:
            answer = callers[caller].ask(method, mutated.encode(), body_of(route))
            if is_the_same and caller != "nothing":
                assert answer.status == 200, mutated
            else:
                check_is_the_gates(answer, caller, 404 if named is None or may(caller, named) else 403)
            asked += caller != "nothing"
            assert named is None or "{" in named.path, mutated
    rows = usage_log()
    assert len(rows) == asked
    assert {endpoint for _, endpoint, *_ in rows} <= {
        UNKNOWN,
        route.name,
        *(other.name for other in ROUTES if NAMES_ONE.search(other.path)),
    }
    assert hits() == sum(images for *_, images in rows) == 0


@pytest.mark.parametrize("route", PATHS, ids=PATH_IDS)
def test_what_is_no_http_is_400_and_what_is_goes_through_the_gate(
    callers: dict[str, Wire], model: str, route: Route, usage_log: Callable[[], LoggedRows], hits: Callable[[], int]
) -> None:
    path, method = path_of(route, model).encode(), route.methods[0]
    middle = len(path) // 2
    for odd in RAW:
        targets = (path + odd, odd + path, path[:middle] + odd + path[middle:], path + odd + b"x")
        for target in targets[PATHS.index(route) % ONE_IN :: ONE_IN]:
            # Spaces between the words of a request's first line are no part of its path.
            if target.strip(b" ") != path:
                for caller in ("nothing", "all"):
                    answer = callers[caller].ask(method, target, body_of(route))
                    assert answer.status == 400, target
                    assert answer.problem["title"] == "Bad Request"
    assert usage_log() == []
    assert hits() == 0


@pytest.mark.parametrize("way", WAYS)
def test_other_ways_to_name_the_same_path_lead_through_the_gate(
    callers: dict[str, Wire],
    model: str,
    way: tuple[bytes, bytes],
    usage_log: Callable[[], LoggedRows],
    hits: Callable[[], int],
) -> None:
    """Those that HTTP has: an absolute target, a query, a fragment, further spaces."""
    before, after = way
    paid: LoggedRows = []
    for route in ASKED[WAYS.index(way) % ONE_IN :: ONE_IN]:
        target = before + path_of(route, model).encode() + after
        for caller in ("nothing", "metrics", "all"):
            answer = callers[caller].ask(route.methods[0], target, body_of(route))
            if may(caller, route) or route.is_public:
                assert answer.status == status_of(route)
                if answer.status == 200 and not route.is_public:
                    images = {Cost.NOTHING: 0, Cost.ONE_IMAGE: 1, Cost.EACH_IMAGE: 2}[route.cost]
                    paid.append((caller, route.name, route.methods[0], 200, images))
            else:
                check_is_the_gates(answer, caller, 403)
    assert [row for row in usage_log() if row[3] == 200] == paid
    assert hits() == sum(images for *_, images in paid)


@pytest.mark.parametrize("target", [b"*", b"//", b"//elsewhere/v2/classify", b"//elsewhere/metrics", b"/*"])
@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST"])
def test_targets_without_a_path_of_ours(callers: dict[str, Wire], method: str, target: bytes) -> None:
    for caller, wire in callers.items():
        check_is_the_gates(wire.ask(method, target), caller, 404)
