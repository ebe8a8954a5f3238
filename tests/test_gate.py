"""The gate: a route is the exact path that is declared, and whatever else is asked reaches nothing that computes."""

import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest

from api.classify_operations import A_PIXEL
from api.routes import ROUTES
from auth.identity import SCOPES
from testing.servers import Server
from tests.answers import assert_problem
from tests.wire import Answer, Wire
from web.routes import UNKNOWN, Cost, Route

# What HTTP libraries and servers have been seen to strip, split at, or take for another character: anywhere in a path,
EVERYWHERE = (
    *("%0a", "%0d", "%0d%0a", "%00", "%09", "%20", "%2f", "%2e", "%3f", "%23", "%3b", "%5c", "%25", "%ff"),
    *("/", "//", "/.", "/..", "/./", "/../", "/%2e%2e", ";x", "%e2%80%8b"),
)
# and at its end.
AT_THE_END = (
    *("%0b", "%0c", "%1f", "%7f", "%c2%85", "%c2%a0", "%e2%80%a8", "%ef%bc%8f", "%2F", "%2e%2e", "%2f.", "%2f..%2f"),
    *("%250a", "%", "%0", "%zz", ".", ";", "\\", "+", "~", "!", "*", "/%0a", "%0a/", "/%20", "%0a%0a", "%00.css"),
)
RAW = (b" ", b"\t", b"\r", b"\n", b"\r\n", b"\0", b"\x0b", b"\x0c", b"\x7f", b"\x85", b"\xa0", "／".encode())
ALL_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
# One route of each path: what is no path of ours is so for every method.
PATHS = list({route.path: route for route in ROUTES}.values())
PATH_IDS = [f"{route.methods[0]} {route.name}" for route in PATHS]
# A request to it would end the keys of this module; `tests/fast/test_own_keys.py` asks it.
ENDS_ITS_KEY = "/v2/keys/self"
ASKED = [route for route in ROUTES if route.path != ENDS_ITS_KEY]
# What a request's first line may have around a path, before it and after it.
WAYS = [
    (before, after)
    for before in (b" ", b"http://elsewhere", b"http://user:password@elsewhere:1")
    for after in (b"", b" ", b"?", b"?/../x", b"#x", b"?x#/y")
]
# `make torture` tries every odd path of every route; `make test` one in three, others for each route.
ONE_IN = 1 if os.environ.get("TORTURE") else 3
# Whoever asks for a path that is no route is told the same with every key; and where it is one, by two of the keys.
SOME = ("nothing", "metrics", "all")
# What these routes take has fields that they can't do without.
WITHOUT_THEIR_FIELDS = (
    *(("POST", f"/v2/admin/{things}") for things in ("users", "keys", "plans")),
    ("GET", "/v2/admin/usage"),
)
# Of the things that such a path names, there is none of the name that is asked for.
NAMES_ONE, UNKNOWN_KEY = re.compile(r"\{\w+\}"), "AAAAAAAAAAAA"

LoggedRows = list[tuple[str, str, str, int, int]]


@pytest.fixture(scope="module")
def model(server: Server) -> str:
    """The name of the model that is served."""
    with server.client(server.create_key("asks@example.org")["key"]) as client:
        return str(client.get("/v1/model/info").json()["name"])


@pytest.fixture(scope="module")
def callers(server: Server) -> Iterator[dict[str, Wire]]:
    """Callers by what they may: nothing, without a key; each scope alone; everything."""

    def key(name: str, *scopes: str) -> str:
        options = [option for scope in scopes for option in ("--scope", scope)]
        return str(server.create_key(f"{name}@gate.example", "--limit", "1000000/day", *options)["key"])

    made = {"nothing": Wire(server.port), "all": Wire(server.port, key("all", *SCOPES))}
    made |= {scope: Wire(server.port, key(scope, scope)) for scope in SCOPES}
    yield made
    for wire in made.values():
        wire.close()


@pytest.fixture
def usage_log(server: Server) -> Callable[[], LoggedRows]:
    """The rows that were written since the test began, oldest first: who, endpoint, method, status, images."""
    with closing(sqlite3.connect(server.folder / "classifier.db")) as database:
        [(before,)] = database.execute("SELECT coalesce(max(id), 0) FROM usage_log").fetchall()

    def rows() -> LoggedRows:
        with closing(sqlite3.connect(server.folder / "classifier.db")) as database:
            return database.execute(
                "SELECT replace(email, '@gate.example', ''), endpoint, method, status, images"
                " FROM usage_log JOIN users ON users.id = user_id"
                " WHERE usage_log.id > ? AND email LIKE '%@gate.example' ORDER BY usage_log.id",
                [before],
            ).fetchall()

    return rows


@pytest.fixture
def hits(server: Server) -> Callable[[], int]:
    """How many hits all users have taken since the test began."""

    def taken() -> int:
        with closing(sqlite3.connect(server.folder / "classifier.db")) as database:
            [(highest,)] = database.execute(
                "SELECT coalesce(sum(most), 0) FROM (SELECT max(seq) AS most FROM hits"
                " JOIN users ON users.id = user_id WHERE email LIKE '%@gate.example' GROUP BY user_id)"
            ).fetchall()
        return int(highest)

    before = taken()
    return lambda: taken() - before


def path_of(route: Route, model: str) -> str:
    return route.path.replace("{name:path}", model).replace("{id}", UNKNOWN_KEY).replace("{name}", UNKNOWN_KEY)


def status_of(route: Route) -> int:
    """The status of an answer to whom the route is for, and who sends a plain request."""
    if route.is_web_socket:
        return 426
    if (route.methods[0], route.path) in WITHOUT_THEIR_FIELDS:
        return 422
    return 404 if NAMES_ONE.search(route.path) else 200


def body_of(route: Route) -> Any:
    """A body that the route would take, or no body."""
    if route.has_error_text:
        return {"inputs": A_PIXEL}
    if route.is_json_rpc:
        return {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    nothing: Any = {} if "POST" in route.methods or "PATCH" in route.methods else None
    return {Cost.NOTHING: nothing, Cost.ONE_IMAGE: {"image": A_PIXEL}, Cost.EACH_IMAGE: {"images": [A_PIXEL, A_PIXEL]}}[
        route.cost
    ]


def may(caller: str, route: Route) -> bool:
    return caller == "all" or (caller != "nothing" and route.scope in (None, caller))


def check_is_the_gates(answer: Answer, caller: str, status: int) -> None:
    """Check that it is a problem of that status, or 401 where the caller has no key, and sends nobody elsewhere."""
    assert answer.status == (401 if caller == "nothing" else status)
    assert "location" not in answer.headers
    assert answer.headers["x-request-id"]
    if answer.content:
        assert answer.problem["status"] == answer.status


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


def mutations(path: str) -> set[str]:
    """The path, with every oddity after it, before it, and in it; and as it is, otherwise written."""
    # After the first slash, before the last, and in the middle of the last word.
    places = {len(path), 0, 1, path.rindex("/"), path.rindex("/") + 1, (path.rindex("/") + len(path) + 1) // 2}
    made = {path[:place] + odd + path[place:] for odd in EVERYWHERE for place in places}
    made |= {path + odd for odd in AT_THE_END}
    letter = re.search(r"[a-z]", path)
    if letter:
        at = letter.start()
        full_width = "".join(chr(ord(character) - 0x20 + 0xFF00) for character in path[1:])
        made |= {
            path.upper(),
            path.title(),
            path[:at] + path[at].upper() + path[at + 1 :],
            path[:-1] + path[-1].upper(),
            path[:at] + f"%{ord(path[at]):02x}" + path[at + 1 :],
            "/" + "".join(f"%{ord(character):02x}" for character in path[1:]),
            path[0] + quote(full_width),
            path[:at] + quote(chr(ord(path[at]) - 0x20 + 0xFF00)) + path[at + 1 :],
            path.upper() + "%0a",
            path[:at] + f"%{ord(path[at]):02x}" + path[at + 1 :] + "%0a",
        }
    made |= {
        path.replace("/", "//"),
        path.replace("/", "/./"),
        path.replace("/", "%2f"),
        "/" + path[1:].replace("/", "%2f"),
        "/" + path[1:].replace("/", "\\"),
        "/x/.." + path,
        "/.." + path,
        path + "/x/..",
        path + "/%0a/..",
    }
    # A request's path begins with a slash: what does not is no HTTP, and tried below.
    return {mutated for mutated in made if mutated.startswith("/")} - {path, "/"} - {route.path for route in ROUTES}


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
