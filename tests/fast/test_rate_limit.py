"""The rate limit of a user: the sliding window, what each request costs, and the headers that tell it."""

import json

import pytest

from testing.clock import Clock
from testing.colour_model import image_of
from testing.in_process import InProcessGateway, IssuedKey
from testing.photographs import as_base64
from tests.answers import assert_problem
from tests.fast.conftest import Start

pytestmark = pytest.mark.anyio

IMAGE = as_base64(image_of("red"))
ONE = {"image": IMAGE}


async def classify(gateway: InProcessGateway, key: IssuedKey) -> int:
    return (await gateway.request("POST", "/v1/classify", key, json=ONE)).status_code


async def batch(gateway: InProcessGateway, key: IssuedKey, number: int) -> int:
    return (await gateway.request("POST", "/v2/classify/batch", key, json={"images": [IMAGE] * number})).status_code


async def test_a_hit_leaves_the_window_one_microsecond_after_its_length(
    gateway: InProcessGateway, clock: Clock
) -> None:
    key = gateway.new_key("2/minute")
    assert await classify(gateway, key) == 200
    clock.advance(10)
    assert await classify(gateway, key) == 200
    clock.advance(50)
    # The first hit is exactly as old as the window: it still counts.
    refused = await gateway.request("POST", "/v1/classify", key, json=ONE)
    assert_problem(refused, 429)
    assert refused.headers["retry-after"] == "1"
    clock.advance(microseconds=1)
    assert await classify(gateway, key) == 200
    # The second hit counts for ten seconds more.
    clock.advance(9, microseconds=999_999)
    assert await classify(gateway, key) == 429
    clock.advance(microseconds=1)
    assert await classify(gateway, key) == 200


async def test_headers_tell_the_policy_and_what_remains(gateway: InProcessGateway, clock: Clock) -> None:
    key = gateway.new_key("3/minute")
    told = []
    for _ in range(4):
        answer = await gateway.request("POST", "/v1/classify", key, json=ONE)
        assert answer.headers["ratelimit-policy"] == '"default";q=3;w=60'
        told.append((answer.status_code, answer.headers["ratelimit"]))
        clock.advance(10)
    assert told == [
        (200, '"default";r=2;t=60'),
        (200, '"default";r=1;t=51'),
        (200, '"default";r=0;t=41'),
        (429, '"default";r=0;t=31'),
    ]


async def test_retry_after_is_never_too_early(gateway: InProcessGateway, clock: Clock) -> None:
    key = gateway.new_key("1/minute")
    await classify(gateway, key)
    clock.advance(microseconds=500_000)
    refused = await gateway.request("POST", "/v1/classify", key, json=ONE)
    assert refused.headers["retry-after"] == "60"
    assert "1/minute" in assert_problem(refused, 429)["detail"]
    clock.advance(59)
    assert await classify(gateway, key) == 429
    clock.advance(1)
    assert await classify(gateway, key) == 200


async def test_every_limit_of_a_user_must_allow(gateway: InProcessGateway, clock: Clock) -> None:
    key = gateway.new_key("2/10s", "3/hour")
    statuses = []
    for _ in range(3):
        statuses.append(await classify(gateway, key))
    clock.advance(10, microseconds=1)
    statuses.append(await classify(gateway, key))
    refused = await gateway.request("POST", "/v1/classify", key, json=ONE)
    assert statuses == [200, 200, 429, 200]
    assert "3/hour" in assert_problem(refused, 429)["detail"]
    assert refused.headers["ratelimit-policy"] == '"default";q=2;w=10, "3/hour";q=3;w=3600'
    assert refused.headers["ratelimit"] == '"default";r=1;t=11, "3/hour";r=0;t=3590'
    assert refused.headers["retry-after"] == "3590"


async def test_a_refused_request_costs_nothing(gateway: InProcessGateway, clock: Clock) -> None:
    key = gateway.new_key("1/minute")
    assert await classify(gateway, key) == 200
    for _ in range(3):
        clock.advance(15)
        assert await classify(gateway, key) == 429
    assert gateway.hits() == 1
    assert [row["images"] for row in gateway.usage_rows()] == [1, 0, 0, 0]
    clock.advance(15, microseconds=1)
    assert await classify(gateway, key) == 200


async def test_a_batch_costs_a_hit_for_each_image(gateway: InProcessGateway) -> None:
    key = gateway.new_key("5/minute")
    answer = await gateway.request("POST", "/v2/classify/batch", key, json={"images": [IMAGE] * 3})
    assert answer.status_code == 200
    assert answer.headers["ratelimit"] == '"default";r=2;t=60'
    assert gateway.hits() == 3
    assert gateway.usage_rows()[0]["images"] == 3
    assert await batch(gateway, key, 3) == 429
    assert gateway.hits() == 3, "a batch is admitted as a whole or not at all"
    assert await batch(gateway, key, 2) == 200


async def test_a_batch_that_no_window_holds_says_how_many_images_fit(gateway: InProcessGateway) -> None:
    key = gateway.new_key("2/minute")
    answer = await gateway.request("POST", "/v2/classify/batch", key, json={"images": [IMAGE] * 3})
    assert "send at most 2 at once" in assert_problem(answer, 429)["detail"]
    assert gateway.hits() == 0


async def test_a_batch_is_refused_before_its_body_is_read_where_not_one_image_fits(gateway: InProcessGateway) -> None:
    key = gateway.new_key("1/minute")
    await classify(gateway, key)
    exchange = gateway.exchange("/v2/classify/batch", key, content_type="application/json")
    assert_problem(await exchange.answer(), 429)


@pytest.mark.parametrize(
    ("path", "content_type", "body", "status"),
    [
        ("/v1/classify", "application/json", b"{", 400),
        ("/v1/classify", "text/plain", b"x", 415),
        ("/v1/classify", "application/json", b"{}", 422),
        ("/v1/classify", "application/json", b'{"image": "AAAA"}', 400),
        ("/v2/classify/batch", "application/json", b"{", 400),
        ("/v2/classify/batch", "text/plain", b"x", 415),
        ("/v2/classify/batch", "application/json", b'{"images": []}', 422),
    ],
)
async def test_a_request_that_is_wrong_costs_one_hit(
    gateway: InProcessGateway, path: str, content_type: str, body: bytes, status: int
) -> None:
    key = gateway.new_key("5/minute")
    answer = await gateway.request("POST", path, key, content=body, headers={"Content-Type": content_type})
    assert_problem(answer, status)
    assert answer.headers["ratelimit"] == '"default";r=4;t=60'
    assert gateway.hits() == 1
    assert gateway.usage_rows()[0]["images"] == 1


async def test_a_bad_image_in_a_batch_costs_as_much_as_a_good_one(gateway: InProcessGateway) -> None:
    key = gateway.new_key("5/minute")
    await gateway.request("POST", "/v2/classify/batch", key, json={"images": [IMAGE, "AAAA"]})
    assert gateway.hits() == 2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/usage", 200), ("GET", "/v2/limits", 200), ("GET", "/nothing", 404), ("GET", "/v1/classify", 405)],
)
async def test_only_classification_counts(gateway: InProcessGateway, method: str, path: str, status: int) -> None:
    key = gateway.new_key("1/minute")
    answer = await gateway.request(method, path, key)
    assert answer.status_code == status
    assert "ratelimit" not in answer.headers
    assert gateway.hits() == 0


async def test_the_keys_of_a_user_share_its_limits_and_users_do_not(gateway: InProcessGateway) -> None:
    first, second = gateway.new_key("1/minute"), gateway.new_key()
    other = gateway.new_key("1/minute", email="other@example.org")
    assert first.user_id == second.user_id
    assert [await classify(gateway, key) for key in (first, second, other)] == [200, 429, 200]


async def test_workers_share_a_limit(start: Start) -> None:
    one, other = await start(), await start()
    key = one.new_key("2/minute")
    assert [await classify(worker, key) for worker in (one, other, one, other)] == [200, 200, 429, 429]


async def test_503_where_hits_can_not_be_counted(gateway: InProcessGateway) -> None:
    key = gateway.new_key("5/minute")
    with gateway.without_table("hits"):
        answer = await gateway.request("POST", "/v1/classify", key, json=ONE)
    assert_problem(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1
    # What is left can't be told; what the limits are can.
    assert answer.headers["ratelimit-policy"] == '"default";q=5;w=60'
    assert "ratelimit" not in answer.headers
    assert gateway.hits() == 0


async def test_the_route_of_limits_tells_the_same(gateway: InProcessGateway, clock: Clock) -> None:
    key = gateway.new_key("5/minute", "100/90s")
    await batch(gateway, key, 2)
    clock.advance(30)
    answer = await gateway.request("GET", "/v2/limits", key)
    assert json.loads(answer.text) == {
        "policies": [
            {"name": "default", "limit": "5/minute", "quota": 5, "window": 60, "remaining": 3, "reset": 31},
            {"name": "100/90s", "limit": "100/90s", "quota": 100, "window": 90, "remaining": 98, "reset": 61},
        ]
    }
    assert gateway.hits() == 2
