"""What the tests of the gate share: a caller of each scope, what each route takes, and what was logged and counted."""

import itertools
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from api.classify_operations import A_PIXEL
from api.routes import ROUTES
from auth.identity import SCOPES
from testing.servers import Server
from tests.wire import Answer, Wire
from web.routes import Cost, Route

# A request to it would end the keys of these tests; `tests/fast/test_own_keys.py` asks it.
ENDS_ITS_KEY = "/v2/keys/self"
ASKED = [route for route in ROUTES if route.path != ENDS_ITS_KEY]
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

# Callers of one server have addresses of their own in each module.
_modules = itertools.count(1)


@pytest.fixture(scope="module")
def callers(server: Server) -> Iterator[dict[str, Wire]]:
    """Callers by what they may: nothing, without a key; each scope alone; everything."""
    domain = f"{next(_modules)}.gate.example"

    def key(name: str, *scopes: str) -> str:
        options = [option for scope in scopes for option in ("--scope", scope)]
        return str(server.create_key(f"{name}@{domain}", "--limit", "1000000/day", *options)["key"])

    made = {"nothing": Wire(server.port), "all": Wire(server.port, key("all", *SCOPES))}
    made |= {scope: Wire(server.port, key(scope, scope)) for scope in SCOPES}
    yield made
    for wire in made.values():
        wire.close()


@pytest.fixture(scope="module")
def model(callers: dict[str, Wire]) -> str:
    """The name of the model that is served."""
    return str(json.loads(callers["all"].ask("GET", b"/v1/model/info").content)["name"])


@pytest.fixture
def usage_log(server: Server) -> Callable[[], LoggedRows]:
    """The rows that were written since the test began, oldest first: who, endpoint, method, status, images."""
    with closing(sqlite3.connect(server.folder / "classifier.db")) as database:
        [(before,)] = database.execute("SELECT coalesce(max(id), 0) FROM usage_log").fetchall()

    def rows() -> LoggedRows:
        with closing(sqlite3.connect(server.folder / "classifier.db")) as database:
            return database.execute(
                "SELECT substr(email, 1, instr(email, '@') - 1), endpoint, method, status, images"
                " FROM usage_log JOIN users ON users.id = user_id"
                " WHERE usage_log.id > ? AND email LIKE '%.gate.example' ORDER BY usage_log.id",
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
                " JOIN users ON users.id = user_id WHERE email LIKE '%.gate.example' GROUP BY user_id)"
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
