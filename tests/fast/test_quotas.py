"""Quotas by the calendar month and day, and what is billed: what callers see of them."""

import asyncio
import json
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import delete

from storage import plans, users
from storage.models import quota_reservations
from storage.plans import Plan
from storage.prices import Price
from storage.quotas import Quota
from storage.reservations import KEPT_S, QuotaRequest
from testing import colour_model
from testing.asgi_exchange import Exchange
from testing.clock import Clock
from testing.colour_model import image_of
from testing.in_process import InProcessGateway, IssuedKey
from testing.photographs import as_base64
from tests.answers import assert_problem
from tests.fast.conftest import Start

pytestmark = pytest.mark.anyio

IMAGE = as_base64(image_of("red"))
ONE = {"image": IMAGE}
BAD = {"image": "AAAA"}
BATCH = "/v2/classify/batch"


@pytest.fixture
def clock() -> Clock:
    """In a leap year."""
    return Clock(int(datetime(2028, 2, 28, 12, tzinfo=UTC).timestamp()) * 1_000_000)


def with_quota(gateway: InProcessGateway, *quotas: str, email: str = "caller@example.org") -> IssuedKey:
    key = gateway.new_key(email=email)
    wanted = tuple(map(Quota.parse, quotas))
    gateway.store.database.change(partial(users.set_quotas, name=key.user_id, quotas=wanted))
    return key


async def classify(gateway: InProcessGateway, key: IssuedKey, body: Any = ONE) -> httpx.Response:
    return await gateway.request("POST", "/v1/classify", key, json=body)


async def remaining(gateway: InProcessGateway, key: IssuedKey) -> int:
    policies = (await gateway.request("GET", "/v2/limits", key)).json()["policies"]
    return int(next(policy["remaining"] for policy in policies if policy["name"] == "quota"))


async def test_a_quota_is_used_up_and_begins_again_with_the_month(gateway: InProcessGateway, clock: Clock) -> None:
    key = with_quota(gateway, "2/month")
    first, second, refused = [await classify(gateway, key) for _ in range(3)]
    # Of the leap year: February has 29 days, and a day and a half of it is left.
    assert first.headers["ratelimit-policy"] == '"default";q=100000;w=60, "quota";q=2;w=2505600'
    assert first.headers["ratelimit"] == '"default";r=99999;t=60, "quota";r=1;t=129600'
    assert second.headers["ratelimit"].endswith('"quota";r=0;t=129600')
    problem = assert_problem(refused, 429)
    assert problem["type"] == "quota-exceeded"
    assert "2/month" in problem["detail"]
    assert refused.headers["retry-after"] == "129600"
    assert refused.headers["ratelimit"] == '"default";r=99998;t=61, "quota";r=0;t=129600'
    clock.advance(129_599)
    assert (await classify(gateway, key)).status_code == 429
    clock.advance(1)
    assert (await classify(gateway, key)).headers["ratelimit-policy"].endswith('"quota";q=2;w=2678400')
    assert [row["billable"] for row in gateway.usage_rows()] == [1, 1, 0, 0, 1]


async def test_a_quota_of_a_day_beside_one_of_a_month(gateway: InProcessGateway, clock: Clock) -> None:
    key = with_quota(gateway, "3/month", "2/day")
    statuses = [(await classify(gateway, key)).status_code for _ in range(3)]
    clock.advance(12 * 3600)
    statuses += [(await classify(gateway, key)).status_code for _ in range(2)]
    assert statuses == [200, 200, 429, 200, 429]
    policies = (await gateway.request("GET", "/v2/limits", key)).json()["policies"]
    assert policies[1:] == [
        {"name": "quota", "limit": "3/month", "quota": 3, "window": 2505600, "remaining": 0, "reset": 86400},
        {"name": "quota-day", "limit": "2/day", "quota": 2, "window": 86400, "remaining": 1, "reset": 86400},
    ]


async def test_what_is_not_answered_with_predictions_is_given_back(gateway: InProcessGateway) -> None:
    key = with_quota(gateway, "5/month")
    assert (await classify(gateway, key, BAD)).status_code == 400
    gateway.runner.fault = RuntimeError("out of order")
    assert (await classify(gateway, key)).status_code == 500
    gateway.runner.fault = None
    assert await remaining(gateway, key) == 5
    images = {"images": [IMAGE, "AAAA", "AAAA", IMAGE, "AAAA"]}
    answer = await gateway.request("POST", BATCH, key, json=images)
    assert answer.status_code == 200
    assert answer.headers["ratelimit"].split(", ")[1].startswith('"quota";r=0;')
    assert await remaining(gateway, key) == 3
    assert [row["billable"] for row in gateway.usage_rows() if row["method"] == "POST"] == [0, 0, 2]


async def test_a_batch_larger_than_what_is_left_is_refused_whole(gateway: InProcessGateway) -> None:
    key = with_quota(gateway, "3/month")
    assert (await classify(gateway, key)).status_code == 200
    refused = await gateway.request("POST", BATCH, key, json={"images": [IMAGE] * 3})
    assert "send at most 2" in assert_problem(refused, 429)["detail"]
    assert gateway.hits() == 1
    assert (await gateway.request("POST", BATCH, key, json={"images": [IMAGE] * 2})).status_code == 200
    # Not one image fits: it is refused before its body is read.
    exchange = gateway.exchange(BATCH, key, content_type="application/json")
    assert assert_problem(await exchange.answer(), 429)["type"] == "quota-exceeded"


async def test_requests_at_once_share_what_is_left(start: Start) -> None:
    workers = [await start(), await start()]
    key = with_quota(workers[0], "5/month")
    answers = await asyncio.gather(*(classify(workers[number % 2], key) for number in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 7


async def test_what_was_answered_before_the_quota_was_set_counts(gateway: InProcessGateway) -> None:
    key = gateway.new_key()
    await gateway.request("POST", BATCH, key, json={"images": [IMAGE] * 3})
    assert await remaining(gateway, with_quota(gateway, "5/month")) == 2


async def test_a_request_that_died_gives_back_what_it_reserved(gateway: InProcessGateway, clock: Clock) -> None:
    key = with_quota(gateway, "1/month")
    died = await gateway.store.find_key(key.key_id)
    assert died is not None
    asked = QuotaRequest(key.user_id, died.quotas, "req_died", 1, clock.now_us)
    assert (await gateway.store.hit(key.user_id, died.limits, quota=asked)).admitted
    clock.advance(KEPT_S)
    assert (await classify(gateway, key)).status_code == 429
    clock.advance(microseconds=1)
    assert await remaining(gateway, key) == 1
    assert (await classify(gateway, key)).status_code == 200


async def test_a_request_whose_images_were_given_back_is_not_answered(gateway: InProcessGateway) -> None:
    """A process that was stopped for minutes must not answer beyond the quota when it goes on."""
    key = with_quota(gateway, "1/month")
    exchange = gateway.exchange("/v1/classify", key, content_type="application/json")
    await exchange.app_waits()
    gateway.store.database.change(lambda connection: connection.execute(delete(quota_reservations)))
    exchange.send(json.dumps(ONE).encode(), more=False)
    assert "quota" in assert_problem(await exchange.answer(), 503)["detail"]
    [row] = gateway.usage_rows()
    assert (row["status"], row["billable"], row["model"]) == (503, 0, "")
    assert await remaining(gateway, key) == 1


async def test_an_answer_that_was_not_given_is_not_kept_for_a_retry(gateway: InProcessGateway) -> None:
    """Else the retry would get unbilled what the quota had refused."""
    key = with_quota(gateway, "1/month")
    exchange = gateway.exchange("/v1/classify", key, content_type="application/json", idempotency_key="k")
    await exchange.app_waits()
    gateway.store.database.change(lambda connection: connection.execute(delete(quota_reservations)))
    exchange.send(json.dumps(ONE).encode(), more=False)
    assert_problem(await exchange.answer(), 503)
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    again = await gateway.request("POST", "/v1/classify", key, content=json.dumps(ONE), headers=headers)
    assert (again.status_code, "idempotency-replayed" in again.headers) == (200, False)
    assert [row["billable"] for row in gateway.usage_rows()] == [0, 1]


async def test_rows_name_the_model_and_the_plan(gateway: InProcessGateway) -> None:
    key = gateway.new_key()
    give_plan(gateway, key, "pro")
    for path, body in (
        ("/v1/classify", ONE),
        (f"/models/{colour_model.NAME}", {"inputs": IMAGE}),
        ("/v1/classify", BAD),
    ):
        await gateway.request("POST", path, key, json=body)
    rows = [(row["billable"], row["model"], row["revision"], row["plan"]) for row in gateway.usage_rows()]
    assert rows == [(1, colour_model.NAME, "1", "pro")] * 2 + [(0, "", "", "pro")]


def give_plan(gateway: InProcessGateway, key: IssuedKey, name: str, *prices: Price, **parts: Any) -> None:
    made = Plan(name, parts.get("limits", ()), parts.get("quotas", ()), prices, gateway.clock.now_us)
    gateway.store.database.change(partial(plans.create, plan=made))
    gateway.store.database.change(partial(plans.assign, user=key.user_id, name=name))


async def test_usage_costs_what_was_the_price_then(gateway: InProcessGateway, clock: Clock) -> None:
    key, start_us = gateway.new_key(), clock.now_us
    later = Price.parse("3", "EUR", start_us + 3600 * 1_000_000)
    give_plan(gateway, key, "pro", Price.parse("1.50", "EUR", start_us), later)
    await gateway.request("POST", BATCH, key, json={"images": [IMAGE, IMAGE, "AAAA"]})
    clock.advance(3600)
    await classify(gateway, key)
    clock.advance(60)
    page = (await gateway.request("GET", "/v2/usage?bucket=hour", key)).json()
    seen = [(bucket["billable_images"], bucket["cost"]["amount"]) for bucket in page["data"]]
    assert seen == [(2, "0.003"), (1, "0.003")]
    assert page["total"] == {"billable_images": 3, "cost": {"amount": "0.006", "currency": "EUR"}}


async def test_usage_without_a_price_costs_nothing(gateway: InProcessGateway, key: IssuedKey, clock: Clock) -> None:
    await classify(gateway, key)
    clock.advance(60)
    page = (await gateway.request("GET", "/v2/usage", key)).json()
    assert page["total"] == {"billable_images": 1, "cost": None}
    assert [(bucket["billable_images"], bucket["cost"]) for bucket in page["data"]] == [(1, None)]


async def test_a_plan_gives_limits_and_quotas_and_the_users_own_go_first(gateway: InProcessGateway) -> None:
    key = gateway.new_key()
    give_plan(gateway, key, "pro", quotas=(Quota(7, "month"),))
    assert '"quota";q=7;' in (await classify(gateway, key)).headers["ratelimit-policy"]
    other = with_quota(gateway, "9/month", email="other@example.org")
    gateway.store.database.change(partial(plans.assign, user=other.user_id, name="pro"))
    assert '"quota";q=9;' in (await classify(gateway, other)).headers["ratelimit-policy"]


async def test_a_body_that_is_wrong_costs_a_hit_and_nothing_of_the_quota(gateway: InProcessGateway) -> None:
    key = with_quota(gateway, "1/month")
    answer = await gateway.request("POST", BATCH, key, json={"images": []})
    assert_problem(answer, 422)
    assert answer.headers["ratelimit"] == '"default";r=99999;t=60, "quota";r=1;t=129600'
    assert (await classify(gateway, key)).status_code == 200


async def test_a_batch_in_lines_bills_each_image_that_is_answered(gateway: InProcessGateway) -> None:
    key = with_quota(gateway, "5/month")
    lines = {"Accept": "application/x-ndjson"}
    answer = await gateway.request("POST", BATCH, key, json={"images": [IMAGE, "AAAA", IMAGE]}, headers=lines)
    assert len(answer.text.splitlines()) == 3
    rows = gateway.usage_rows()
    assert sorted((row["images"], row["billable"]) for row in rows) == [(0, 0), (1, 0), (1, 1), (1, 1)]
    assert {row["model"] for row in rows if row["billable"]} == {colour_model.NAME}
    assert await remaining(gateway, key) == 3
    refused = await gateway.request("POST", BATCH, key, json={"images": [IMAGE] * 4}, headers=lines)
    assert assert_problem(refused, 429)["type"] == "quota-exceeded"


async def test_each_line_takes_its_image_from_what_the_batch_reserved(gateway: InProcessGateway) -> None:
    """An image that was answered does not count beside its reservation, and a bad one is given back with its line."""
    key = with_quota(gateway, "3/month")
    with gateway.runner.engine.held():
        exchange = begin_lines(gateway, key, ["AAAA", IMAGE])
        for _ in range(2):
            await exchange.message()
        assert await remaining(gateway, key) == 2
    assert (await exchange.answer()).text.count("predictions") == 1
    assert await remaining(gateway, key) == 2


async def test_lines_of_images_that_were_given_back_are_not_answered(gateway: InProcessGateway) -> None:
    """As of a process that was stopped for minutes: others may have used the quota up."""
    key = with_quota(gateway, "2/month")
    with gateway.runner.engine.held():
        exchange = begin_lines(gateway, key, [IMAGE, IMAGE])
        await gateway.runner.asked(2)
        gateway.store.database.change(lambda connection: connection.execute(delete(quota_reservations)))
    lines = [json.loads(line) for line in (await exchange.answer()).text.splitlines()]
    assert [line["error"]["status"] for line in lines] == [503, 503]
    assert "quota" in lines[0]["error"]["detail"]
    rows = gateway.usage_rows()
    assert [(row["status"], row["images"], row["billable"]) for row in rows] == [(503, 1, 0), (503, 1, 0), (200, 0, 0)]
    assert await remaining(gateway, key) == 2


def begin_lines(gateway: InProcessGateway, key: IssuedKey, images: list[str]) -> Exchange:
    exchange = gateway.exchange(BATCH, key, accept="application/x-ndjson", content_type="application/json")
    exchange.send(json.dumps({"images": images}).encode(), more=False)
    return exchange


async def test_each_message_of_a_stream_is_billed_and_refused_as_a_request(gateway: InProcessGateway) -> None:
    key = with_quota(gateway, "1/month")
    socket = gateway.web_socket("/v2/stream", key)
    await socket.accepted()
    for message in (b"no image", image_of("red"), image_of("red")):
        socket.send(message)
    answers = [await socket.answer() for _ in range(3)]
    assert [answer.get("type") for answer in answers] == ["about:blank", None, "quota-exceeded"]
    assert [row["billable"] for row in gateway.usage_rows() if row["method"] == "POST"] == [0, 1, 0]


async def test_a_repeated_answer_takes_nothing_of_a_quota(gateway: InProcessGateway) -> None:
    key = with_quota(gateway, "1/month")
    first, again = [
        await gateway.request("POST", "/v2/classify", key, json=ONE, headers={"Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (200, first.json(), "true")
    assert [(row["images"], row["billable"]) for row in gateway.usage_rows()] == [(1, 1), (0, 0)]
