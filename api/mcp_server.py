"""Answers messages of MCP with the official SDK. Only `mcp_route.py` imports this module, when the first message comes.

Every message is answered by itself, without a session, so any worker and any replica can answer the next one.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.types import Scope

from api.mcp_tools import TOOLS, Tool
from api.openapi import VERSION
from api.requests import JSON
from web import internal_requests
from web.internal_requests import Answer
from web.problem import Problem, internal_error

Context = ServerRequestContext[Any, Request]

_TOOLS = {tool.name: tool for tool in TOOLS}
_INSTRUCTIONS = "Says what an image shows. Only classify_image counts against the limits of the API key."
# The SDK logs what callers send, and tracebacks. Callers get the errors, and the access log has each request.
logging.getLogger("mcp").setLevel(logging.CRITICAL)


async def answer(scope: Scope, body: bytes) -> Answer:
    """Answer one message.

    Args:
        scope: the scope of the request that brought it. Tools are called in the name of its caller.
        body: the message, JSON.

    Returns:
        The answer: JSON-RPC, or empty for a message that needs none.
    """
    # The SDK refuses a client that does not say it also reads event streams, which this service never sends.
    kept = [(name, value) for name, value in scope["headers"] if name not in (b"accept", b"content-type")]
    headers = [*kept, (b"accept", JSON.encode()), (b"content-type", JSON.encode())]
    # One for each message: whatever a message has started ends with it, also when its caller disconnects.
    manager = StreamableHTTPSessionManager(
        _SERVER, json_response=True, stateless=True, max_request_body_size=max(1, len(body))
    )
    async with manager.run():
        # When the caller leaves, this task is cancelled.
        receive = internal_requests.whole_body(body, asyncio.Event().wait)
        return await internal_requests.read_answer(manager.handle_request, {**scope, "headers": headers}, receive)


async def _list_tools(_context: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[_described(tool) for tool in TOOLS])


def _described(tool: Tool) -> types.Tool:
    hints = types.ToolAnnotations(read_only_hint=tool.method == "GET", destructive_hint=False, open_world_hint=False)
    return types.Tool(name=tool.name, description=tool.description, input_schema=tool.schema, annotations=hints)


async def _call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    tool, arguments = _TOOLS.get(params.name), params.arguments or {}
    if tool is None:
        return _error(Problem(404, f"There is no tool of this name; the tools are {', '.join(_TOOLS)}.").body())
    assert context.request is not None, "each message comes in a request"
    try:
        answered = await tool.call(context.request.scope, arguments)
    except Problem as problem:
        return _error(problem.body())
    except Exception as error:
        # The SDK would show its text to the caller.
        return _error(internal_error(error).body())
    result: dict[str, Any] = json.loads(answered.body)
    if answered.status >= 400:
        return _error(result)
    shown = tool.shown(result, arguments)
    return types.CallToolResult(content=[_text(json.dumps(shown))], structured_content=shown)


def _error(problem: dict[str, Any]) -> types.CallToolResult:
    """Return the result that shows a problem: its sentence, and all of its fields."""
    text = problem["detail"]
    if "retry_after" in problem:
        text += f" retry_after: {problem['retry_after']} s."
    return types.CallToolResult(content=[_text(text)], structured_content=problem, is_error=True)


def _text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


def _schema(name: str) -> Mapping[str, Any] | None:
    tool = _TOOLS.get(name)
    return None if tool is None else tool.schema


_SERVER: Server[Any] = Server(
    "image-classifier",
    version=VERSION,
    instructions=_INSTRUCTIONS,
    get_tool_input_schema=_schema,
    on_list_tools=_list_tools,
    on_call_tool=_call_tool,
)
