"""`/mcp` on a real server, with the official client, and the configuration files in `docs/agents.md`."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from requirements.install import COMPILED, Environment
from testing.photographs import COFFEE, as_base64
from testing.servers import PROJECT, Server, inherited

PAGE = (PROJECT / "docs" / "agents.md").read_text()


# What a server does when the first message comes, the longest that its event loop waits meanwhile, and the number of
# garbage collections. In processor time, which goes on while the loop can't: this process does nothing else.
LOADED = """
import asyncio, gc, time
import api.mcp_route, api.mcp_tools, web.internal_requests
from runtime.garbage_collection import freeze_gc

async def main():
    freeze_gc()
    collections = []
    gc.callbacks.append(lambda *_: collections.append(_))
    loading = asyncio.create_task(asyncio.to_thread(api.mcp_route._load))
    longest, before = 0.0, time.process_time()
    while not loading.done():
        await asyncio.sleep(0)
        now = time.process_time()
        longest, before = max(longest, now - before), now
    await loading
    print(longest, len(collections))

asyncio.run(main())
"""


async def call_twice(url: str, key: str) -> list[Any]:
    """The results of classifying one photograph two times."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as agent,
    ):
        photo = {"image": as_base64(COFFEE.read_bytes()), "top_k": 3}
        return [await agent.call_tool("classify_image", photo) for _ in range(2)]


@pytest.mark.alone
def test_the_first_message_does_not_keep_other_requests_waiting() -> None:
    """The SDK is imported then, in a thread. `requirements/install.py` has compiled it, or the first run here does."""
    environment = inherited()
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    waited: list[float] = []
    while len(waited) < 3 and min(waited, default=1.0) >= 0.1:
        command = [sys.executable, "-c", LOADED]
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
        longest, collections = done.stdout.split()
        assert collections == "0"
        waited.append(float(longest))
    print(f"the event loop waited {', '.join(f'{1000 * one:.0f}' for one in waited)} ms of processor time")
    assert min(waited) < 0.1


def test_what_the_first_message_needs_is_compiled_when_it_is_installed(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    for package in COMPILED["serve"]:
        assert find_spec(package), "it is a package of the SDK"
        (packages / package).mkdir(parents=True)
        (packages / package / "__init__.py").write_text("")
    environment = Environment(tmp_path)
    environment.python = Path(sys.executable)
    environment.compile(COMPILED["serve"])
    assert len([*packages.glob("*/__pycache__/*.pyc")]) == len(COMPILED["serve"])


def test_the_configuration_files_name_the_address_and_the_key() -> None:
    claude, code = map(json.loads, re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    [of_claude], [of_code] = claude["mcpServers"].values(), code["servers"].values()
    for configured in (of_claude, of_code):
        assert configured["type"] == "http"
        assert configured["url"].endswith(":3000/mcp")
        assert configured["headers"]["Authorization"].startswith("Bearer ${")
    [asked] = code["inputs"]
    assert f"${{input:{asked['id']}}}" in of_code["headers"]["Authorization"]


def test_an_agent_classifies_under_its_limit_and_is_in_the_usage_log(
    server: Server, new_user: Callable[..., dict[str, Any]]
) -> None:
    key = new_user("--limit", "1/day")["key"]
    answered, refused = asyncio.run(call_twice(f"{server.url}/mcp", key))
    predictions = answered.structured_content["predictions"]
    assert (predictions[0]["label"], len(predictions)) == ("espresso", 3)
    assert (answered.is_error, refused.is_error) == (False, True)
    assert re.search(r"Your limit of 1/day is reached; .* retry_after: \d+ s\.", refused.content[0].text)

    with server.client(key) as caller:
        [classified] = caller.get("/v2/usage", params={"endpoint": "/v2/classify"}).json()["data"]
        [messages] = caller.get("/v2/usage", params={"endpoint": "/mcp"}).json()["data"]
    assert (classified["status"]["2xx"], classified["status"]["4xx"], classified["images"]) == (1, 1, 1)
    assert (messages["status"]["2xx"], messages["images"]) == (messages["requests"], 0)

    log = [line for line in server.log.read_text().splitlines() if re.search(r"Traceback|StreamableHTTP", line)]
    assert log == [], "the SDK writes nothing to the log"
