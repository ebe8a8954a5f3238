"""The usage log: which requests have a row, what is in it, and that no answer leaves before its row is committed."""

import sqlite3
from contextlib import closing

import pytest
from starlette.types import Message, Receive, Scope, Send

from auth.usage_log import UsageLog
from testing import colour_model
from testing.asgi_exchange import Exchange
from testing.clock import START_US, Clock
from testing.colour_model import image_of
from testing.in_process import InProcessGateway, IssuedKey, authorization
from testing.photographs import as_base64
from tests.answers import assert_problem
from web import context
from web.context import RequestContext
from web.routes import Match

pytestmark = pytest.mark.anyio

ONE = {"image": as_base64(image_of("blue"))}
SEVERAL = {"images": [ONE["image"]] * 3}


async def test_the_row_of_a_classification(gateway: InProcessGateway, key: IssuedKey, clock: Clock) -> None:
    clock.advance(5, microseconds=7)
    answer = await gateway.request("POST", "/v2/classify", key, json=ONE)
    [row] = gateway.usage_rows()
    response_ms = row.pop("response_ms")
    assert 0 < response_ms < 10_000
    assert row == {
        "id": 1,
        "request_id": answer.json()["id"],
        "user_id": key.user_id,
        "key_id": key.key_id,
        "endpoint": "/v2/classify",
        "method": "POST",
        "status": 200,
        "at_us": START_US + 5_000_007,
        "images": 1,
        "billable": 1,
        "model": colour_model.NAME,
        "revision": answer.json()["model"]["revision"],
        "plan": "",
    }


async def test_the_row_is_committed_before_the_answer_leaves(gateway: InProcessGateway, key: IssuedKey) -> None:
    rows_at_each_message: list[int] = []

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_watched(message: Message) -> None:
            # (Read over a connection of its own, which sees only what is committed.)
            rows_at_each_message.append(len(gateway.usage_rows()))
            await send(message)

        await gateway.app(scope, receive, send_watched)

    exchange = Exchange(watched, "GET", "/v1/model/info", authorization(key))
    assert (await exchange.answer()).status_code == 200
    assert rows_at_each_message == [1, 1]


@pytest.mark.parametrize(
    ("request_line", "body", "endpoint", "status", "images"),
    [
        ("POST /v1/classify", ONE, "/v1/classify", 200, 1),
        ("POST /v2/classify/batch", SEVERAL, "/v2/classify/batch", 200, 3),
        ("POST /v1/classify", {"image": "AAAA"}, "/v1/classify", 400, 1),
        ("GET /v1/usage", None, "/v1/usage", 200, 0),
        ("GET /v2/models/no/such", None, "/v2/models/{name}", 404, 0),
        ("GET /v1/classify", None, "/v1/classify", 405, 0),
        ("GET /v1/nothing", None, "/(unknown)", 404, 0),
        ("GET /metrics", None, "/metrics", 403, 0),
    ],
)
async def test_every_request_with_a_valid_key_has_a_row(
    gateway: InProcessGateway, request_line: str, body: object, endpoint: str, status: int, images: int
) -> None:
    method, path = request_line.split()
    answer = await gateway.request(method, path, gateway.new_key(), json=body)
    assert answer.status_code == status
    [row] = gateway.usage_rows()
    assert (row["method"], row["endpoint"], row["status"], row["images"]) == (method, endpoint, status, images)


@pytest.mark.parametrize(("method", "kept"), [("DELETE", "DELETE"), ("MKCOL", "(other)"), ("X" * 300, "(other)")])
async def test_a_method_that_is_made_up_is_not_written_down(
    gateway: InProcessGateway, key: IssuedKey, method: str, kept: str
) -> None:
    assert (await gateway.request(method, "/v1/usage", key)).status_code == 405
    assert gateway.usage_rows()[0]["method"] == kept


async def test_a_request_without_a_valid_key_has_none(gateway: InProcessGateway) -> None:
    revoked = gateway.new_key()
    gateway.revoke(revoked)
    for key in (None, revoked):
        await gateway.request("GET", "/v1/usage", key)
    await gateway.request("GET", "/docs")
    assert gateway.usage_rows() == []


async def test_a_public_path_has_none_even_with_a_key(gateway: InProcessGateway, key: IssuedKey) -> None:
    assert (await gateway.request("GET", "/docs", key)).status_code == 200
    assert gateway.usage_rows() == []


async def test_an_unforeseen_error_has_a_row(gateway: InProcessGateway, key: IssuedKey) -> None:
    gateway.runner.fault = RuntimeError("out of order")
    assert_problem(await gateway.request("POST", "/v1/classify", key, json=ONE), 500)
    [row] = gateway.usage_rows()
    assert (row["status"], row["images"]) == (500, 1)


async def test_an_exception_outside_of_any_endpoint_has_a_row(
    gateway: InProcessGateway, key: IssuedKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.classifier, "manifest", None)
    assert_problem(await gateway.request("GET", "/v1/model/info", key), 500)
    assert gateway.usage_rows()[0]["status"] == 500


async def test_an_exception_whose_row_can_not_be_written_is_a_503_too(
    gateway: InProcessGateway, key: IssuedKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.classifier, "manifest", None)
    with gateway.without_table("usage_log"):
        assert_problem(await gateway.request("GET", "/v1/model/info", key), 503)


async def test_an_answer_that_breaks_off_is_logged_as_the_caller_gets_it(
    gateway: InProcessGateway, key: IssuedKey
) -> None:
    """A row that says 200 of an answer that the caller never got would be billed."""

    async def breaks_off(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("out of order")

    async def receive() -> Message:
        raise AssertionError("there is nothing to read")

    async def send(_message: Message) -> None:
        raise AssertionError("nothing of it may be sent")

    caller = await gateway.store.find_key(key.key_id)
    known = RequestContext("/", Match(), usage_id="req_1", caller=caller)
    scope = context.attach({"type": "http", "method": "GET", "headers": []}, known)
    with pytest.raises(RuntimeError):
        await UsageLog(breaks_off, gateway.store)(scope, receive, send)
    assert [row["status"] for row in gateway.usage_rows()] == [500]


async def test_an_answer_whose_row_can_not_be_written_is_not_given(gateway: InProcessGateway) -> None:
    key = gateway.new_key("5/minute")
    with gateway.without_table("usage_log"):
        answer = await gateway.request("POST", "/v1/classify", key, json=ONE)
    assert_problem(answer, 503)
    assert "predictions" not in answer.text
    assert int(answer.headers["retry-after"]) >= 1
    # The hit was spent, and what is left of the limit holds whatever becomes of the answer.
    assert answer.headers["ratelimit-policy"] == '"default";q=5;w=60'
    assert answer.headers["ratelimit"] == '"default";r=4;t=60'
    assert gateway.usage_rows() == []
    assert (await gateway.request("POST", "/v1/classify", key, json=ONE)).status_code == 200


async def test_the_totals_of_v1_and_the_buckets_of_v2_agree_with_the_rows(
    gateway: InProcessGateway, key: IssuedKey, clock: Clock
) -> None:
    other = gateway.new_key(email="other@example.org")
    for body in (ONE, ONE, {"image": "AAAA"}):
        await gateway.request("POST", "/v1/classify", key, json=body)
    await gateway.request("POST", "/v2/classify/batch", key, json=SEVERAL)
    await gateway.request("POST", "/v1/classify", other, json=ONE)
    await gateway.request("GET", "/v2/models", key)
    spent = [row["response_ms"] for row in gateway.usage_rows() if row["user_id"] == key.user_id and row["images"]]
    totals = (await gateway.request("GET", "/v1/usage", key)).json()
    assert (totals["total_requests"], totals["successful_requests"], totals["success_rate"]) == (4, 3, 75.0)
    assert totals["avg_response_time_ms"] == pytest.approx(sum(spent) / 4, abs=0.006)
    clock.advance(120)
    page = (await gateway.request("GET", "/v2/usage?bucket=minute&endpoint=/v1/classify", key)).json()
    [bucket] = page["data"]
    assert bucket["start"] == "2023-11-14T22:13:00Z"
    assert (bucket["requests"], bucket["images"]) == (3, 3)
    assert bucket["status"] == {"2xx": 2, "3xx": 0, "4xx": 1, "5xx": 0}
    assert page["next_cursor"] is None


async def test_usage_is_read_page_by_page(gateway: InProcessGateway, key: IssuedKey, clock: Clock) -> None:
    for _ in range(102):
        await gateway.request("GET", "/v2/models", key)
        clock.advance(60)
    query = "/v2/usage?bucket=minute&from=2023-11-14T22:00:00Z"
    first = (await gateway.request("GET", query, key)).json()
    rest = (await gateway.request("GET", f"{query}&cursor={first['next_cursor']}", key)).json()
    assert [len(page["data"]) for page in (first, rest)] == [100, 3]
    assert first["data"][-1]["start"] < rest["data"][0]["start"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("bucket=week", "bucket"),
        ("from=yesterday", "from"),
        ("from=2023-11-15T00:00:00Z&to=2023-11-14T00:00:00Z", "from"),
        ("cursor=-1", "cursor"),
        ("to=2023-11-15T00:00:00+01:00", "to"),
        ("endpoint=" + "x" * 201, "endpoint"),
    ],
)
async def test_a_wrong_query_is_422_and_names_the_field(
    gateway: InProcessGateway, key: IssuedKey, query: str, field: str
) -> None:
    assert assert_problem(await gateway.request("GET", f"/v2/usage?{query}", key), 422)["field"] == field


async def test_a_key_knows_when_it_was_last_used_to_the_minute(gateway: InProcessGateway, clock: Clock) -> None:
    key, unused = gateway.new_key(), gateway.new_key()
    clock.advance(600)
    minute_us = clock.now_us - clock.now_us % 60_000_000
    await gateway.request("GET", "/v1/usage", key)
    assert gateway.last_used_us(key) == minute_us
    assert gateway.last_used_us(unused) is None
    clock.advance(120)
    answer = await gateway.request("POST", "/v1/classify", key, json={"image": "broken"})
    assert answer.status_code == 400
    assert gateway.last_used_us(key) == minute_us + 120_000_000


async def test_a_key_is_written_once_a_minute_at_most(gateway: InProcessGateway, key: IssuedKey, clock: Clock) -> None:
    with closing(sqlite3.connect(gateway.database, isolation_level=None)) as raw:
        raw.execute("CREATE TABLE written (key_id)")
        raw.execute("CREATE TRIGGER count AFTER UPDATE ON api_keys BEGIN INSERT INTO written VALUES (NEW.id); END")
        for _ in range(3):
            for _ in range(5):
                await gateway.request("GET", "/v1/usage", key)
            clock.advance(60)
        assert raw.execute("SELECT * FROM written").fetchall() == [(key.key_id,)] * 3
    assert len(gateway.usage_rows()) == 15
