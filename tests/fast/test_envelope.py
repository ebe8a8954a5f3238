"""The error envelope: the ids, problems and headers of every answer, and what becomes of an unforeseen error."""

import logging

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api.routes import ROUTES
from testing.in_process import InProcessGateway, IssuedKey
from tests.answers import assert_problem
from web.envelope import Envelope
from web.matching import RouteMatching
from web.problem import Problem

pytestmark = pytest.mark.anyio

SECRET = "password=hunter2"


async def ask(app: ASGIApp, method: str = "GET", url: str = "http://testserver/docs") -> httpx.Response:
    """Send a request to an app behind nothing but the envelope."""
    enveloped = RouteMatching(Envelope(app), ROUTES)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(enveloped)) as client:
        return await client.request(method, url)


async def raising(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError(SECRET)


async def test_every_answer_has_an_id_of_its_own(gateway: InProcessGateway, key: IssuedKey) -> None:
    answers = [await gateway.request("GET", "/v1/model/info", key) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert all(one.startswith("req_") for one in ids)
    assert len(set(ids)) == 2


@pytest.mark.parametrize("own", ["abc-1", "a" * 128, "A:b.c_d~e"])
async def test_a_valid_id_of_the_caller_is_kept(gateway: InProcessGateway, key: IssuedKey, own: str) -> None:
    answer = await gateway.request("GET", "/nothing", key, headers={"X-Request-ID": own})
    assert answer.headers["x-request-id"] == own
    assert assert_problem(answer, 404)["request_id"] == own
    # The caller may send the same id twice; the one in the usage log is unique.
    assert gateway.usage_rows()[0]["request_id"] != own


@pytest.mark.parametrize("own", ["", "a b", "a" * 129, 'a"b', "imc_0123456789ab", "0123456789ab_" + "x" * 38])
async def test_an_id_that_is_invalid_or_holds_a_key_is_replaced(gateway: InProcessGateway, own: str) -> None:
    answer = await gateway.request("GET", "/docs", headers={"X-Request-ID": own})
    assert answer.headers["x-request-id"].startswith("req_")


async def test_an_exception_is_a_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    answer = await ask(raising)
    problem = assert_problem(answer, 500)
    assert set(problem) == {"type", "title", "status", "detail", "request_id"}
    assert "RuntimeError" not in answer.text
    assert SECRET not in answer.text
    assert SECRET not in caplog.text
    assert problem["request_id"] in caplog.text
    assert "RuntimeError in raising" in caplog.text


async def test_an_exception_of_an_endpoint_is_a_500_too(gateway: InProcessGateway, key: IssuedKey) -> None:
    gateway.runner.fault = RuntimeError(SECRET)
    body = {"image": "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"}
    answer = await gateway.request("POST", "/v1/classify", key, json=body)
    assert_problem(answer, 500)
    assert SECRET not in answer.text


async def test_a_problem_that_is_raised_is_the_answer() -> None:
    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        raise Problem(422, "Send a smaller number.", {"Retry-After": "7"}, field="number")

    answer = await ask(refusing)
    problem = assert_problem(answer, 422)
    assert (problem["field"], problem["retry_after"]) == ("number", 7)
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("status", "sent", "kept"),
    [
        (404, {"X-Internal": "1"}, {}),
        (405, {"Allow": "POST"}, {"allow": "POST"}),
        (503, {}, {"retry-after": "1"}),
        (503, {"Retry-After": "9"}, {"retry-after": "9"}),
        (502, {}, {}),
    ],
)
async def test_an_error_of_a_library_becomes_a_problem(status: int, sent: dict[str, str], kept: dict[str, str]) -> None:
    answer = await ask(PlainTextResponse(f"failed at /srv/app.py: {SECRET}", status, sent))
    assert_problem(answer, status)
    assert SECRET not in answer.text
    assert "x-internal" not in answer.headers
    assert {name: answer.headers[name] for name in kept} == kept


async def test_an_exception_after_the_start_of_an_answer_reaches_the_server() -> None:
    """The server then cuts the connection; a second answer in the same place would look like data."""

    async def breaking_off(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError(SECRET)

    with pytest.raises(RuntimeError):
        await ask(breaking_off)


async def test_headers_that_protect_browsers() -> None:
    answer = await ask(PlainTextResponse("ok", headers={"Server": "uvicorn"}))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "server" not in answer.headers
    assert "cache-control" not in answer.headers
    assert "strict-transport-security" not in answer.headers


async def test_a_policy_of_the_page_itself_stays() -> None:
    answer = await ask(PlainTextResponse("ok", headers={"Content-Security-Policy": "img-src *"}))
    assert answer.headers.get_list("content-security-policy") == ["img-src *"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_an_answer_to_a_key_is_not_stored(gateway: InProcessGateway, key: IssuedKey) -> None:
    assert (await gateway.request("GET", "/v2/limits", key)).headers["cache-control"] == "no-store"


async def test_over_tls_browsers_are_told_to_stay_with_tls() -> None:
    answer = await ask(PlainTextResponse("ok"), url="https://testserver/docs")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_one_line_in_the_log_for_each_request(
    gateway: InProcessGateway, key: IssuedKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "bentoml.access")
    await gateway.request("GET", "/v2/models/no/such", key, headers={"X-Request-ID": "mine"})
    await gateway.request("GET", "/livez")
    [line] = [record.getMessage() for record in caplog.records if record.name == "bentoml.access"]
    # The name of the route, never the path: that would make lines of strangers' choice.
    assert line.startswith("GET /v2/models/{name} 404 ")
    assert line.endswith(" ms mine")
