"""`/mcp`: agents list the tools and call them, under the same keys, limits and usage log as everybody else."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import httpx
import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from auth.identity import SCOPES
from testing.colour_model import CONFIDENCE, LABELS, NAME, image_of
from testing.in_process import InProcessGateway, IssuedKey, authorization
from testing.photographs import as_base64
from tests.answers import assert_problem
from tests.fast.conftest import Start
from web import internal_requests

pytestmark = pytest.mark.anyio

RED = {"image": as_base64(image_of("red"))}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
NEWEST = "2026-07-28"
MODES = ["auto", "legacy"]


@asynccontextmanager
async def agent(gateway: InProcessGateway, key: IssuedKey | None, mode: str = "auto") -> AsyncIterator[Client]:
    """The official client, connected. `auto` speaks the newest version of the protocol, `legacy` the one before."""
    sent = {**authorization(key), "X-Request-ID": "agent-1"}
    async with (
        httpx2.AsyncClient(transport=httpx2.ASGITransport(gateway.app), headers=sent) as http,
        Client(streamable_http_client("http://testserver/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


async def send_newest(gateway: InProcessGateway, key: IssuedKey, method: str, **params: Any) -> httpx.Response:
    """Send one message in the newest version of the protocol."""
    prefix = "io.modelcontextprotocol/"
    meta = {f"{prefix}protocolVersion": NEWEST, f"{prefix}clientCapabilities": {}}
    headers = {
        "MCP-Protocol-Version": NEWEST,
        "Content-Type": "application/json",
        "Mcp-Method": method,
        "Mcp-Name": params.get("name", ""),
    }
    message = {**PING, "method": method, "params": {**params, "_meta": meta}}
    return await gateway.request("POST", "/mcp", key, content=json.dumps(message), headers=headers)


def text_of(result: Any) -> str:
    return str(result.content[0].text)


@pytest.mark.parametrize("mode", MODES)
async def test_an_agent_lists_the_tools_and_classifies(gateway: InProcessGateway, key: IssuedKey, mode: str) -> None:
    async with agent(gateway, key, mode) as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        result = await client.call_tool("classify_image", {**RED, "top_k": 2, "min_confidence": 0.5})
    assert set(listed) == {"classify_image", "usage", "limits", "models"}
    assert listed["classify_image"].input_schema["required"] == ["image"]
    assert set(listed["classify_image"].input_schema["properties"]) == {"image", "top_k", "min_confidence"}
    assert not result.is_error
    [best] = result.structured_content["predictions"]
    assert (best["label"], best["confidence"]) == ("red", CONFIDENCE)
    assert json.loads(text_of(result)) == result.structured_content


async def test_a_call_has_a_row_for_the_message_and_one_for_its_route(
    gateway: InProcessGateway, key: IssuedKey
) -> None:
    async with agent(gateway, key) as client:
        before = len(gateway.usage_rows())
        result = await client.call_tool("classify_image", RED)
    # The client lists the tools after its first call.
    inner, message = gateway.usage_rows()[before : before + 2]
    assert (inner["endpoint"], inner["method"], inner["status"], inner["images"]) == ("/v2/classify", "POST", 200, 1)
    assert (message["endpoint"], message["method"], message["status"], message["images"]) == ("/mcp", "POST", 200, 0)
    assert inner["request_id"] == result.structured_content["id"]
    assert {inner["key_id"], message["key_id"]} == {key.key_id}
    assert gateway.hits() == 1


@pytest.mark.parametrize("mode", MODES)
async def test_beyond_the_limit_an_agent_is_told_how_long_to_wait(gateway: InProcessGateway, mode: str) -> None:
    key = gateway.new_key("1/minute")
    async with agent(gateway, key, mode) as client:
        assert not (await client.call_tool("classify_image", RED)).is_error
        refused = await client.call_tool("classify_image", RED)
        limits = await client.call_tool("limits")
    assert refused.is_error
    problem = refused.structured_content
    assert (problem["status"], problem["request_id"]) == (429, "agent-1")
    assert problem["detail"] in text_of(refused)
    assert f"retry_after: {problem['retry_after']} s" in text_of(refused)
    assert limits.structured_content["policies"][0]["remaining"] == 0
    assert gateway.hits() == 1


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("classify_image", {"image": "no base64!"}, "base64"),
        ("classify_image", {"image": as_base64(b"no image")}, "no image"),
        ("classify_image", {}, "'image' is missing"),
        ("classify_image", {**RED, "top_k": 0}, "'top_k'"),
        ("classify_image", {**RED, "top_k": len(LABELS) + 1}, "'top_k'"),
        ("usage", {"bucket": "week"}, "'bucket'"),
        ("usage", {"endpoint": "x" * 5000}, "too long"),
        ("no_such_tool", {}, "classify_image"),
    ],
)
async def test_a_wrong_call_is_told_what_to_correct(
    gateway: InProcessGateway, key: IssuedKey, tool: str, arguments: dict[str, Any], said: str
) -> None:
    async with agent(gateway, key) as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert said in text_of(result)


@pytest.mark.parametrize("tool", ["classify_image", "usage"])
async def test_half_a_character_is_an_error_of_the_caller(gateway: InProcessGateway, key: IssuedKey, tool: str) -> None:
    arguments = {"image": "\ud800", "endpoint": "\ud800"}
    answer = await send_newest(gateway, key, "tools/call", name=tool, arguments=arguments)
    result = answer.json()["result"]
    assert result["isError"]
    assert "not Unicode" in result["content"][0]["text"]


@pytest.mark.parametrize("mode", MODES)
async def test_an_unexpected_error_tells_nothing_of_the_inside(
    gateway: InProcessGateway, key: IssuedKey, mode: str
) -> None:
    with mock.patch.object(internal_requests, "ask", side_effect=RuntimeError("a secret")):
        async with agent(gateway, key, mode) as client:
            result = await client.call_tool("limits")
    assert result.is_error
    assert (result.structured_content["status"], "secret" in str(result)) == (500, False)


async def test_there_are_no_streams_of_events(gateway: InProcessGateway, key: IssuedKey) -> None:
    answer = await send_newest(gateway, key, "subscriptions/listen", notifications={"toolsListChanged": True})
    assert "no streams" in assert_problem(answer, 406)["detail"]


async def test_an_agent_reads_usage_and_the_model(gateway: InProcessGateway, key: IssuedKey) -> None:
    async with agent(gateway, key) as client:
        await client.call_tool("classify_image", RED)
        usage = await client.call_tool("usage", {"bucket": "hour", "endpoint": "/v2/classify"})
        brief = await client.call_tool("models")
        whole = await client.call_tool("models", {"labels": True})
    assert [bucket["images"] for bucket in usage.structured_content["data"]] == [1]
    assert usage.structured_content["bucket"] == "hour"
    [model] = brief.structured_content["models"]
    assert (model["name"], model["num_labels"]) == (NAME, len(LABELS))
    assert "labels" not in model, "a thousand labels would fill the context of an agent"
    assert whole.structured_content["models"][0]["labels"] == [*LABELS]


# The scope that each tool takes, and what it is called with.
TOOLS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "classify_image": ("classify", RED),
    "usage": ("usage", {}),
    "limits": ("usage", {}),
    "models": (None, {}),
}


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_tool_takes_the_scope_of_its_route(gateway: InProcessGateway, scope: str) -> None:
    async with agent(gateway, gateway.new_key(scopes=frozenset({scope}))) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS.keys()
        for name, (needed, arguments) in TOOLS.items():
            answer = await client.call_tool(name, arguments)
            assert answer.is_error == (needed not in (None, scope)), name
            assert not answer.is_error or f"lacks the scope '{needed}'" in text_of(answer)
    assert gateway.hits() == (scope == "classify")


async def test_in_overload_an_agent_is_told_to_try_again(start: Start) -> None:
    gateway = await start(max_queue=1)
    key = gateway.new_key()
    async with agent(gateway, key) as client:
        with gateway.runner.engine.held():
            waits = gateway.exchange("/v1/classify", key, content_type="application/json")
            waits.send(json.dumps(RED).encode(), more=False)
            await gateway.runner.asked(1)
            refused = await client.call_tool("classify_image", RED)
        await waits.answer()
    assert refused.is_error
    assert (refused.structured_content["status"], refused.structured_content["retry_after"] > 0) == (503, True)
    assert gateway.hits() == 1


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer imc_wrong"}])
async def test_without_a_valid_key_nothing_is_answered(gateway: InProcessGateway, headers: dict[str, str]) -> None:
    answer = await gateway.request("POST", "/mcp", json=PING, headers=headers)
    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert gateway.usage_rows() == []


async def test_the_official_client_is_refused_without_a_key(gateway: InProcessGateway) -> None:
    with pytest.raises(ExceptionGroup) as refused:
        async with agent(gateway, None):
            pass
    assert refused.group_contains(MCPError)
    assert gateway.usage_rows() == []


async def test_a_client_need_not_say_what_it_reads_nor_where_it_comes_from(
    gateway: InProcessGateway, key: IssuedKey
) -> None:
    for headers in ({}, {"Accept": "text/plain", "Host": "api.example.org", "Origin": "https://agent.example"}):
        answer = await gateway.request("POST", "/mcp", key, json=PING, headers=headers)
        assert answer.status_code == 200
        assert answer.json() == {"jsonrpc": "2.0", "id": 1, "result": {}}
    notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    answer = await gateway.request("POST", "/mcp", key, json=notification)
    assert (answer.status_code, answer.content) == (202, b"")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_there_are_no_sessions_and_no_streams(gateway: InProcessGateway, key: IssuedKey, method: str) -> None:
    answer = await gateway.request(method, "/mcp", key, headers={"Accept": "text/event-stream"})
    assert_problem(answer, 405)
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("version", ["2025-06-18", NEWEST])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"[1]", b"1", b'{"jsonrpc": "2.0"}', b"[" * 2000, b"[" + b"0," * 20_000 + b"0]"]
)
async def test_what_is_no_message_is_refused(
    gateway: InProcessGateway, key: IssuedKey, version: str, body: bytes
) -> None:
    sent = {"MCP-Protocol-Version": version, "Content-Type": "application/json"}
    assert_problem(await gateway.request("POST", "/mcp", key, content=body, headers=sent), 400)


async def test_bodies_are_limited_as_on_every_route(start: Start) -> None:
    gateway = await start(max_body_bytes=1000)
    key = gateway.new_key()
    large = {**PING, "params": {"_meta": {"x": "y" * 1000}}}
    assert_problem(await gateway.request("POST", "/mcp", key, json=large), 413)
    assert_problem(await gateway.request("POST", "/mcp", key, content=b"x", headers={"Content-Type": "text/xml"}), 415)


async def test_an_error_of_the_protocol_names_its_message(gateway: InProcessGateway, key: IssuedKey) -> None:
    answer = await send_newest(gateway, key, "no/such")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
    assert (answer.json()["id"], answer.json()["error"]["code"]) == (PING["id"], -32601)
    assert answer.headers["x-request-id"]


async def test_when_the_caller_leaves_its_call_ends_and_is_logged(gateway: InProcessGateway, key: IssuedKey) -> None:
    call = {**PING, "method": "tools/call", "params": {"name": "classify_image", "arguments": RED}}
    with gateway.runner.engine.held():
        sent = gateway.exchange("/mcp", key, content_type="application/json")
        sent.send(json.dumps(call).encode(), more=False)
        await gateway.runner.asked(1)
        sent.disconnect()
        assert_problem(await sent.answer(), 400)
    statuses = {row["endpoint"]: row["status"] for row in gateway.usage_rows()}
    assert statuses == {"/v2/classify": 400, "/mcp": 400}
