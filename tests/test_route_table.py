"""The table of routes by itself: paths with parameters, of which the service has few, and paths made up at random."""

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.routes import ROUTES
from auth.identity import SCOPES
from web.routes import UNKNOWN, Route, Routes

TABLE = Routes(
    Route(methods=("GET",), path="/keys", version="v9"),
    Route(methods=("POST",), path="/keys", version="v9", scope="admin"),
    Route(methods=("DELETE",), path="/keys/self", version="v9"),
    Route(methods=("DELETE",), path="/keys/{id}", version="v9"),
    Route(methods=("POST",), path="/keys/{id}/rotate", version="v9"),
    Route(methods=("POST",), path="/models/{owner}/{name}", version="v9"),
    Route(methods=("GET",), path="/files/{file:path}", version="v9"),
    Route(methods=("GET",), path="/a.b", version="v9", is_public=True),
)


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("DELETE", b"/keys/k1", "/keys/{id}"),
        ("DELETE", b"/keys/k%31", "/keys/{id}"),
        ("POST", b"/keys/k1/rotate", "/keys/{id}/rotate"),
        ("POST", b"/models/microsoft/resnet-18", "/models/{owner}/{name}"),
        ("GET", b"/files/a/b/c", "/files/{file}"),
        ("GET", b"/files/a%2Fb%20c", "/files/{file}"),
        ("GET", b"/files/%e2%98%95", "/files/{file}"),
    ],
)
def test_a_parameter_stands_for_what_can_be_read(method: str, path: bytes, name: str) -> None:
    found = TABLE.match(method, path)
    assert found.route is not None
    assert found.name == name


@pytest.mark.parametrize(
    "path",
    [
        *(b"/keys/", b"/keys//rotate", b"/keys/a/b/rotate", b"/keys/a%2Fb", b"/keys/a%2frotate", b"/%6beys/k1"),
        *(b"/keys/.", b"/keys/..", b"/keys/%2e%2e", b"/keys/../rotate", b"/keys/k1%0a", b"/keys/%00", b"/keys/k1%20"),
        *(b"/keys/sel%66", b"/keys/%73elf", b"/keys/%73%65%6C%66"),
        *(b"/keys/k1/rotate/", b"/keys/k1/rotate%0a", b"/keys/k1/%72otate", b"/keys/k1/ROTATE", b"/Keys/k1"),
        *(b"/models/a", b"/models/a/b/c", b"/models/a%2Fb", b"/models//b", b"/models/a/"),
        *(
            b"/files/",
            b"/files/a//b",
            b"/files//a",
            b"/files/a/",
            b"/files/a/../b",
            b"/files/a%2f..%2fb",
            b"/files/a%0ab",
        ),
        *(b"/files/" + b"a" * 1000, b"/files" + b"/a" * 30_000),
        *(b"/files/a/%C2%85", b"/files/%e2%80%8b", b"/files/%e2%80%a8x", b"/axb", b"/a.b\n", b"", b"*"),
    ],
)
def test_and_for_nothing_else(path: bytes) -> None:
    for method in ("GET", "POST", "DELETE"):
        found = TABLE.match(method, path)
        assert (found.route, found.name, found.methods) == (None, UNKNOWN, ())


def test_a_path_may_do_another_thing_for_each_method() -> None:
    get, post, put = (TABLE.match(method, b"/keys") for method in ("GET", "POST", "PUT"))
    assert get.route is not None
    assert post.route is not None
    assert (get.route.scope, post.route.scope, put.route) == (None, "admin", None)
    assert put.methods == ("GET", "POST")


def test_what_is_public_is_so_for_every_method_of_its_path() -> None:
    assert TABLE.match("PUT", b"/a.b").is_public, "whoever may ask is told what can be asked"
    assert not TABLE.match("PUT", b"/keys").is_public
    assert not TABLE.match("GET", b"/nothing").is_public


@given(st.binary(max_size=30) | st.text(max_size=30).map(lambda text: b"/" + text.encode()))
def test_a_path_that_is_not_declared_is_unknown(path: bytes) -> None:
    declared = {route.path.encode() for route in ROUTES}
    assert (ROUTES.match("GET", path).name == UNKNOWN) == (path not in declared)


@given(st.text(min_size=1, max_size=30))
def test_a_models_name_has_neither_control_characters_nor_empty_segments(name: str) -> None:
    found = ROUTES.match("GET", b"/v2/models/" + name.encode())
    if found.route is not None:
        read = unquote(name.encode().decode("latin-1"))
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]|^/|//|/$|(^|/)\.\.?(/|$)", read)


def test_every_scope_of_the_table_is_one_that_a_key_can_have() -> None:
    assert {route.scope for route in ROUTES} - {None} <= set(SCOPES)
    assert not any(route.scope for route in ROUTES if route.is_public)
