"""Requests made from `/openapi.json`, by schemathesis: none is a 500, and every answer is as the document says."""

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.result import Ok

from auth.identity import SCOPES
from testing.servers import Server

REQUESTS_PER_ROUTE = 200 if os.environ.get("TORTURE") else 12
# What is valid by its schema, a text, may still be no image; what a query holds beyond the schema is left alone, and
# whoever sends a wrong key with every request is soon told to wait.
NOT_PROMISED = ["positive_data_acceptance", "negative_data_rejection", "ignored_auth"]
# The same requests in each run, without a bound of time.
GENERATED = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
EVERY_SCOPE = [option for scope in SCOPES for option in ("--scope", scope)]


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return str(server.create_key("schemathesis@example.org", "--limit", "1000000/day", *EVERY_SCOPE)["key"])


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
def test_every_answer_is_as_the_document_says(server: Server, key: str, mode: GenerationMode) -> None:
    """Without schemathesis' own plugin, which this pytest is too new for."""
    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    asked = 0
    for found in document.get_all_operations():
        assert isinstance(found, Ok)
        operation: Any = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(GENERATED, max_examples=REQUESTS_PER_ROUTE)
        def check(case: Any) -> None:
            nonlocal asked
            asked += 1
            # This one ends the key that it is sent with.
            ends_its_key = case.operation.path == "/v2/keys/self"
            own = server.create_key(f"once{asked}@example.org")["key"] if ends_its_key else key
            excluded = CHECKS.get_by_names(NOT_PROMISED)
            case.call_and_validate(headers={"Authorization": f"Bearer {own}"}, excluded_checks=excluded)

        if mode == GenerationMode.POSITIVE or operation.body or operation.query:
            check()
    assert asked > REQUESTS_PER_ROUTE
