"""What operators and users of their own keys ask, made by schemathesis from `/openapi.json` for things that exist.

`tests/test_openapi.py` asks every route, but of things that there are not.
"""

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from api.routes import ROUTES
from auth.identity import SCOPES
from testing.clock import Clock
from testing.in_process import InProcessGateway, IssuedKey, copied
from tests.test_openapi import GENERATED, NOT_PROMISED

EXAMPLES = 200 if os.environ.get("TORTURE") else 15
OPERATOR = "operator@example.org"
# What is right of the fields whose rules a schema can't say. Which fields are sent is schemathesis' choice.
RIGHT = {
    "limits": ["5/minute"],
    "quotas": ["100/month"],
    "scopes": ["usage"],
    "expires_in": "30d",
    "grace": "1h",
    "plan": None,
    "price": "1.20",
    "currency": "EUR",
    "from": "2030-01-01",
}
ASKED = [
    (route.methods[0], route.path)
    for route in ROUTES
    if route.path.startswith(("/v2/admin/", "/v2/keys")) or route.scope == "usage"
]


class Service:
    """A gateway without an event loop around it, an operator, and new things to ask for."""

    def __init__(self, database: Path) -> None:
        self._runner = asyncio.Runner()
        self._numbers = itertools.count(1)
        self._gateway = self._runner.run(self._started(database))
        self._gateway.new_key(email="last@example.org", scopes=frozenset({"admin"}))
        self.operator = self.new_key(OPERATOR, frozenset(SCOPES))
        document = self._runner.run(self._gateway.request("GET", "/openapi.json")).json()
        self.document = schemathesis.openapi.from_dict(document)

    async def _started(self, database: Path) -> InProcessGateway:
        return InProcessGateway(database, Clock())

    def new_key(self, email: str, scopes: frozenset[str] = frozenset({"usage"})) -> IssuedKey:
        return self._gateway.new_key(email=email, scopes=scopes)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._runner.run(self._gateway.request(method, path, **options))

    def send(self, case: Any, key: IssuedKey) -> httpx.Response:
        """Send what schemathesis made."""
        made = requests.Request(**case.as_transport_kwargs(base_url="http://testserver")).prepare()
        headers = {name: str(value).encode() for name, value in made.headers.items() if name.lower() != "authorization"}
        body: Any = made.body
        return self.ask(str(made.method), made.path_url, key=key, content=body, headers=headers)

    def aim(self, case: Any, is_right: bool) -> IssuedKey:
        """Have the case ask for something new that exists; return the key to ask with.

        Args:
            case: what schemathesis made.
            is_right: whether to set right what a schema can't say.
        """
        path, user = case.operation.path, f"user{next(self._numbers)}@example.org"
        if is_right and isinstance(case.body, dict):
            right = RIGHT | {"email": f"new.{user}", "name": user.partition("@")[0]}
            case.body = {name: right.get(name, value) for name, value in case.body.items()}
            if "email" in case.body:
                case.body.pop("user_id", None)
        thing = self.new_key(OPERATOR if path.startswith("/v2/keys/{id}") else user)
        if path.startswith("/v2/admin/plans/{name}"):
            name = f"plan{next(self._numbers)}"
            order = {"name": name, "price": "1.50", "currency": "EUR"}
            assert self.ask("POST", "/v2/admin/plans", key=self.operator, json=order).status_code == 201
            case.path_parameters = {"name": name}
        elif path.startswith("/v2/admin/users/{id}"):
            case.path_parameters = {"id": thing.user_id}
        elif "{id}" in path:
            case.path_parameters = {"id": thing.key_id}
        elif path == "/v2/admin/usage":
            case.query = {**(case.query or {}), "user": user}
        return thing if path == "/v2/keys/self" else self.operator

    def close(self) -> None:
        self._runner.run(self._gateway.close())
        self._runner.close()


@pytest.fixture
def service(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr("storage.store.KEY_MEMORY_S", 0.0)
    service = Service(copied(empty_database, tmp_path))
    yield service
    service.close()


@pytest.mark.parametrize("one", ASKED, ids=" ".join)
def test_every_answer_about_what_exists_is_as_documented(service: Service, one: tuple[str, str]) -> None:
    [operation] = [
        found.ok()
        for found in service.document.get_all_operations()
        if isinstance(found, Ok) and (found.ok().method.upper(), found.ok().path) == one
    ]
    statuses = set()

    def checked(mode: GenerationMode) -> Callable[[], None]:
        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(GENERATED, max_examples=EXAMPLES)
        def check(case: Any) -> None:
            answer = service.send(case, service.aim(case, is_right=mode is GenerationMode.POSITIVE))
            statuses.add(answer.status_code)
            case.validate_response(answer, excluded_checks=CHECKS.get_by_names(NOT_PROMISED))

        return check

    checked(GenerationMode.POSITIVE)()
    assert any(status < 300 for status in statuses), statuses
    if operation.body or operation.query:
        checked(GenerationMode.NEGATIVE)()
        assert any(400 <= status < 500 for status in statuses), statuses
