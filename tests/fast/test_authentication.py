"""Authentication: which keys are let in, what a refusal says, and the limit of failures for each client address."""

import asyncio
import itertools

import pytest
from starlette.types import Message

from auth.api_key import ApiKey
from testing.clock import Clock
from testing.in_process import InProcessGateway, IssuedKey
from tests.answers import assert_problem
from tests.fast.conftest import Start

pytestmark = pytest.mark.anyio

READ = "/v1/usage"
SCOPES = frozenset({"classify", "usage", "metrics"})


def altered(key: IssuedKey, text: str) -> IssuedKey:
    return IssuedKey(text, key.key_id, key.user_id)


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/docs.json"])
async def test_public_paths_need_no_key(gateway: InProcessGateway, path: str) -> None:
    assert (await gateway.request("GET", path)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", READ), ("POST", "/v1/classify"), ("GET", "/v2/models"), ("GET", "/metrics"), ("GET", "/nothing")],
)
async def test_every_other_path_answers_401_without_a_key(gateway: InProcessGateway, method: str, path: str) -> None:
    answer = await gateway.request(method, path)
    assert "Bearer imc_" in assert_problem(answer, 401)["detail"]
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "ratelimit-policy" not in answer.headers


@pytest.mark.parametrize(
    "written",
    [
        "Basic dXNlcjpwYXNz",
        "Bearer",
        "Bearer ",
        "Bearer garbage",
        "Bearer imc_",
        "Bearer sk-0123456789",
        "Bearer ä",
        "imc_0123456789ab_0123456789012345678901234567890123456789",
        "Token {key}",
        "Bearer {key}x",
        "Bearer {key} {key}",
    ],
)
async def test_a_header_that_is_no_bearer_key_is_401(gateway: InProcessGateway, key: IssuedKey, written: str) -> None:
    value = written.format(key=key.text).encode("latin-1")
    answer = await gateway.request("GET", READ, headers={"Authorization": value})
    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_an_empty_variable_is_among_the_reasons(gateway: InProcessGateway) -> None:
    answer = await gateway.request("GET", READ, headers={"Authorization": "Bearer "})
    assert "check that it is set" in assert_problem(answer, 401)["detail"]


async def test_all_keys_that_are_not_valid_get_the_same_answer(gateway: InProcessGateway, clock: Clock) -> None:
    revoked, expired = gateway.new_key(), gateway.new_key(expires_in_s=1)
    disabled = gateway.new_key(email="disabled@example.org")
    gateway.revoke(revoked)
    gateway.disable(disabled)
    clock.advance(1)
    wrong_secret = ApiKey(gateway.new_key().key_id, ApiKey.generate().secret)
    unknown = ApiKey.generate()
    texts = [revoked.text, expired.text, disabled.text, wrong_secret.reveal(), unknown.reveal(), "imc_garbage"]
    answers = [await gateway.request("GET", READ, altered(revoked, text)) for text in texts]
    details = {assert_problem(answer, 401)["detail"] for answer in answers}
    assert len(details) == 1
    assert {answer.headers["www-authenticate"] for answer in answers} == {'Bearer error="invalid_token"'}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_read_in_any_case(gateway: InProcessGateway, key: IssuedKey, scheme: str) -> None:
    answer = await gateway.request("GET", READ, headers={"Authorization": f"{scheme}  {key.text} "})
    assert answer.status_code == 200


async def test_a_key_expires_to_the_microsecond(gateway: InProcessGateway, clock: Clock) -> None:
    key = gateway.new_key(expires_in_s=60)
    clock.advance(60, microseconds=-1)
    assert (await gateway.request("GET", READ, key)).status_code == 200
    clock.advance(microseconds=1)
    assert_problem(await gateway.request("GET", READ, key), 401)


async def test_a_revoked_key_is_refused_by_every_worker(start: Start) -> None:
    one, other = await start(), await start()
    key = one.new_key()
    assert (await one.request("GET", READ, key)).status_code == 200
    one.revoke(key)
    assert_problem(await other.request("GET", READ, key), 401)


async def test_all_keys_of_a_disabled_user_are_refused_by_every_worker(start: Start) -> None:
    one, other = await start(), await start()
    first, second, of_another = one.new_key(), one.new_key(), one.new_key(email="another@example.org")
    assert (await one.request("GET", READ, first)).status_code == 200
    one.disable(first)
    for key in (first, second):
        assert_problem(await other.request("GET", READ, key), 401)
    assert (await other.request("GET", READ, of_another)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/usage", "usage"),
        ("GET", "/v2/usage", "usage"),
        ("GET", "/v2/limits", "usage"),
        ("GET", "/metrics", "metrics"),
        ("POST", "/v1/classify", "classify"),
        ("POST", "/v2/classify/batch", "classify"),
    ],
)
async def test_a_scope_that_is_missing_is_403(gateway: InProcessGateway, method: str, path: str, scope: str) -> None:
    key = gateway.new_key("5/minute", scopes=SCOPES - {scope})
    answer = await gateway.request(method, path, key)
    assert f"'{scope}'" in assert_problem(answer, 403)["detail"]
    assert answer.headers["www-authenticate"] == f'Bearer error="insufficient_scope", scope="{scope}"'
    assert gateway.hits() == 0
    # A refusal by a route that has a limit says where the user stands.
    told = '"default";r=5;t=0' if scope == "classify" else None
    assert answer.headers.get("ratelimit") == told


async def test_a_route_without_a_scope_takes_any_valid_key(gateway: InProcessGateway) -> None:
    key = gateway.new_key(scopes=frozenset({"metrics"}))
    assert (await gateway.request("GET", "/v2/models", key)).status_code == 200


async def test_failures_of_an_address_are_limited_in_a_sliding_window(start: Start, clock: Clock) -> None:
    gateway = await start(auth_failure_limit="2/minute")
    garbage = IssuedKey("imc_garbage", "", "")

    async def fail(address: str = "192.0.2.1") -> tuple[int, str | None]:
        answer = await gateway.request("GET", READ, garbage, address=address)
        assert_problem(answer, answer.status_code)
        return answer.status_code, answer.headers.get("retry-after")

    assert await fail() == (401, None)
    clock.advance(10)
    assert await fail() == (401, None)
    assert await fail() == (429, "50")
    assert await fail("192.0.2.2") == (401, None)
    clock.advance(49, microseconds=999_999)
    assert await fail() == (429, "1")
    clock.advance(microseconds=1)
    assert await fail() == (401, None)
    # The second of the first two is still in the window.
    assert await fail() == (429, "10")


async def test_a_refused_failure_does_not_lengthen_the_wait(start: Start, clock: Clock) -> None:
    gateway = await start(auth_failure_limit="1/minute")
    garbage = IssuedKey("imc_garbage", "", "")
    statuses = []
    for _ in range(4):
        statuses.append((await gateway.request("GET", READ, garbage)).status_code)
        clock.advance(20)
    assert statuses == [401, 429, 429, 401]


async def test_a_request_without_a_key_is_no_failure(start: Start) -> None:
    gateway = await start(auth_failure_limit="1/minute")
    for _ in range(3):
        assert (await gateway.request("GET", READ)).status_code == 401


async def test_the_addresses_of_an_ipv6_network_of_64_bits_share_a_limit(start: Start) -> None:
    gateway = await start(auth_failure_limit="1/minute")
    garbage = IssuedKey("imc_garbage", "", "")
    peers = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::9", "2001:db8:0:2::1"]
    statuses = [(await gateway.request("GET", READ, garbage, address=peer)).status_code for peer in peers]
    assert statuses == [401, 429, 401]


async def test_a_right_key_passes_at_an_address_over_its_limit(start: Start) -> None:
    gateway = await start(auth_failure_limit="1/minute")
    key, garbage = gateway.new_key(), IssuedKey("imc_garbage", "", "")
    for expected in (401, 429):
        assert (await gateway.request("GET", READ, garbage)).status_code == expected
    for _ in range(3):
        assert (await gateway.request("GET", READ, key)).status_code == 200
    assert (await gateway.request("GET", READ, garbage)).status_code == 429


async def test_wrong_keys_at_once_are_limited_like_those_one_after_another(start: Start, clock: Clock) -> None:
    gateway = await start(auth_failure_limit="3/minute")
    unknown = [IssuedKey(ApiKey.generate().reveal(), "", "") for _ in range(10)]
    asked = [asyncio.create_task(gateway.request("GET", READ, key)) for key in unknown]
    for answered in itertools.islice(asyncio.as_completed(asked), 9):
        await answered
    # Over the limit a key is looked up each second, since it could be right: one still waits for that turn.
    clock.advance(1)
    assert sorted([(await one).status_code for one in asked]) == [401] * 3 + [429] * 7


async def test_right_keys_at_once_are_no_failures(start: Start) -> None:
    gateway = await start(auth_failure_limit="1/minute")
    keys = [gateway.new_key(email=f"user{number}@example.org") for number in range(10)]
    answers = await asyncio.gather(*(gateway.request("GET", READ, key) for key in keys))
    assert {answer.status_code for answer in answers} == {200}


async def test_one_unknown_key_a_second_is_looked_up_over_the_limit(start: Start, clock: Clock) -> None:
    gateway = await start(auth_failure_limit="1/minute")
    assert (await gateway.request("GET", READ, IssuedKey("imc_garbage", "", ""))).status_code == 401
    new = [gateway.new_key(email=f"user{number}@example.org") for number in range(3)]
    assert (await gateway.request("GET", READ, new[0])).status_code == 200
    # The second waits for its turn; the third is refused, since another waits already.
    second = gateway.exchange(READ, new[1], method="GET")
    await asyncio.sleep(0)
    third = await gateway.exchange(READ, new[2], method="GET").answer()
    assert_problem(third, 429)
    assert not second.is_over
    clock.advance(1)
    assert (await second.answer()).status_code == 200


async def test_a_database_that_is_away_is_503_and_no_failure(start: Start) -> None:
    gateway = await start(auth_failure_limit="1/minute")
    key = gateway.new_key()
    with gateway.without_table("api_keys"):
        for _ in range(3):
            answer = await gateway.request("GET", READ, key)
            assert_problem(answer, 503)
            assert int(answer.headers["retry-after"]) >= 1
    assert (await gateway.request("GET", READ, key)).status_code == 200


async def test_without_a_key_a_server_that_can_only_close_a_websocket_does(gateway: InProcessGateway) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/v2/stream", "raw_path": b"/v2/stream", "headers": []}
    await gateway.app(scope, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
