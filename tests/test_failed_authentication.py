"""Wrong keys, counted for each client address, apart from anybody's limits."""

from pathlib import Path

import httpx

from auth.failures import FailureLimit
from auth.keys import ApiKey
from storage.policy import Limit
from tests.answers import assert_problem
from tests.servers import Server, running


def wrong(server: Server, address: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {ApiKey.generate().reveal()}"}
    if address:
        headers["X-Forwarded-For"] = address
    return httpx.get(f"{server.url}/v1/usage", headers=headers)


def test_an_address_that_goes_on_with_wrong_keys_is_told_to_wait(tmp_path: Path, model_store: Path) -> None:
    with running(tmp_path / "it", model_store, CLASSIFIER_AUTH_FAILURE_LIMIT="5/minute") as server:
        # Whom a stranger claims to speak for changes nothing.
        assert [wrong(server, f"192.0.2.{number}").status_code for number in range(5)] == [401] * 5
        refused = wrong(server, "192.0.2.99")
        assert_problem(refused, 429)
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert "ratelimit" not in refused.headers
        # A right key from the same address is as good as ever, and no key is no wrong one.
        with server.client(server.create_key("ada@example.org")["key"]) as client:
            assert client.get("/v1/usage").status_code == 200
        assert httpx.get(f"{server.url}/v1/usage").status_code == 401


def test_a_trusted_proxy_tells_whom_it_speaks_for(tmp_path: Path, model_store: Path) -> None:
    settings = {"CLASSIFIER_AUTH_FAILURE_LIMIT": "1/minute", "CLASSIFIER_TRUSTED_PROXIES": "127.0.0.1/32,10.0.0.0/8"}
    with running(tmp_path / "it", model_store, **settings) as server:
        assert wrong(server, "192.0.2.1").status_code == 401
        assert wrong(server, "192.0.2.1").status_code == 429
        # What stands left of the nearest stranger was written by that stranger.
        assert wrong(server, "192.0.2.7, 192.0.2.1, 10.1.2.3").status_code == 429
        assert wrong(server, "192.0.2.2").status_code == 401


def scope(peer: str, *forwarded: str) -> dict[str, object]:
    return {"client": (peer, 1), "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded]}


def test_addresses_are_told_from_the_nearest_hop_outwards() -> None:
    nobody, ours = FailureLimit(Limit(1, 60)), FailureLimit(Limit(1, 60), "10.0.0.0/8, fd00::/8")
    assert nobody.address(scope("10.0.0.1", "192.0.2.1")) == "10.0.0.1"
    assert ours.address(scope("192.0.2.9", "192.0.2.1")) == "192.0.2.9"
    assert ours.address(scope("10.0.0.1", "192.0.2.1, 10.0.0.2")) == "192.0.2.1"
    assert ours.address(scope("fd00::1", "192.0.2.1", "10.0.0.2")) == "192.0.2.1"
    assert ours.address(scope("10.0.0.1", "not an address")) == "not an address"
    assert ours.address(scope("10.0.0.1")) == "10.0.0.1"


def test_the_window_slides_and_memory_is_bounded() -> None:
    now = [0.0]
    failures = FailureLimit(Limit(2, 10), clock_s=lambda: now[0])
    assert [failures.fail(scope("192.0.2.1")) for _ in range(3)] == [0.0, 0.0, 10.0]
    now[0] = 10.1
    assert failures.fail(scope("192.0.2.1")) == 0.0
    for number in range(20_000):
        failures.fail(scope(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
    assert len(failures._failures) <= 10_000
