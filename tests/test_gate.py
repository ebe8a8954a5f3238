"""The gate: each route answers whom it is for and nobody else, and takes the methods that it declares."""

from collections.abc import Callable

import httpx
import pytest

from api.classify_operations import A_PIXEL
from api.routes import ROUTES
from testing.servers import Server
from tests.answers import assert_problem
from tests.gate_callers import (
    ASKED,
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
from tests.wire import Wire
from web.routes import Cost, Route

__all__ = ["callers", "hits", "model", "usage_log"]

ALL_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


@pytest.mark.parametrize("route", ASKED, ids=[f"{route.methods[0]} {route.name}" for route in ASKED])
def test_a_route_answers_whom_it_is_for(
    callers: dict[str, Wire],
    model: str,
    route: Route,
    usage_log: Callable[[], LoggedRows],
    hits: Callable[[], int],
) -> None:
    images = {Cost.NOTHING: 0, Cost.ONE_IMAGE: 1, Cost.EACH_IMAGE: 2}[route.cost]
    expected: LoggedRows = []
    for caller, wire in callers.items():
        for method in route.methods:
            answer = wire.ask(method, path_of(route, model).encode(), body_of(route))
            if may(caller, route) or route.is_public:
                assert answer.status == status_of(route)
                assert bool(answer.content) == (method != "HEAD")
            else:
                check_is_the_gates(answer, caller, 403)
            assert ("ratelimit" in answer.headers) == (route.cost != Cost.NOTHING and caller != "nothing")
            if caller != "nothing" and not route.is_public:
                paid = images if answer.status == 200 else 0
                expected.append((caller, route.name, method, answer.status, paid))
    assert usage_log() == expected
    assert hits() == sum(row[-1] for row in expected)


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
def test_a_method_that_a_path_does_not_take(
    callers: dict[str, Wire], model: str, path: str, usage_log: Callable[[], LoggedRows]
) -> None:
    of_path = [route for route in ROUTES if route.path == path]
    taken = [method for route in of_path for method in route.methods]
    expected: LoggedRows = []
    for caller in SOME:
        for method in ALL_METHODS:
            if method in taken:
                continue
            answer = callers[caller].ask(method, path_of(of_path[0], model).encode(), {"image": A_PIXEL})
            if of_path[0].is_public:
                assert answer.status == 405
            else:
                check_is_the_gates(answer, caller, 405)
            assert answer.headers.get("allow") == (None if answer.status == 401 else ", ".join(taken))
            if answer.status == 405 and caller != "nothing" and not of_path[0].is_public:
                logged = method if method not in ("TRACE", "PROPFIND") else "(other)"
                expected.append((caller, of_path[0].name, logged, 405, 0))
    assert usage_log() == expected


def test_a_web_socket_is_refused_everywhere(server: Server, callers: dict[str, Wire], model: str) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for route in ROUTES:
        answer = httpx.get(server.url + path_of(route, model), headers=upgrade)
        assert answer.status_code in (401, 403, 405), "and never 101"
        assert_problem(answer, answer.status_code)
