"""The BentoML Python client, as it is, against the running server."""

import json

import bentoml
import pytest
from bentoml.exceptions import BentoMLException

from testing.photographs import COFFEE, as_base64
from testing.servers import Server

B64 = as_base64(COFFEE.read_bytes())


def test_the_bentoml_client_classifies(server: Server) -> None:
    key = server.create_key("client@example.org")["key"]
    with bentoml.SyncHTTPClient(server.url, token=key) as client:
        answer = client.classify(image=B64)
        assert answer["predictions"][0]["label"] == "espresso"
        assert client.classify(image=B64, filename="coffee.png") == answer


def test_the_client_is_told_of_a_wrong_key(server: Server) -> None:
    with (
        bentoml.SyncHTTPClient(server.url, token="imc_wrong") as client,
        pytest.raises(BentoMLException) as raised,
    ):
        client.classify(image=B64)
    assert raised.value.error_code == 401


def test_the_client_is_told_how_long_to_wait(server: Server) -> None:
    """The error of BentoML's client has the body of the answer, and no headers."""
    key = server.create_key("waits@example.org", "--limit", "1/hour")["key"]
    with bentoml.SyncHTTPClient(server.url, token=key) as client:
        client.classify(image=B64)
        with pytest.raises(BentoMLException) as raised:
            client.classify(image=B64)
    assert raised.value.error_code == 429
    assert 0 < json.loads(str(raised.value))["retry_after"] <= 3600
