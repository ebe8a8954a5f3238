"""`docs/agents.md`, and `/mcp` on a real server, as an agent program would use it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testing.photographs import COFFEE
from testing.servers import PROJECT, Server, inherited

PAGE = (PROJECT / "docs" / "agents.md").read_text()


def blocks(language: str) -> list[str]:
    """The pieces of code on the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def run_program(server: Server, folder: Path, key: str) -> str:
    """What the program of the page prints."""
    (folder / "agent.py").write_text(blocks("python")[0])
    done = subprocess.run(
        [sys.executable, "agent.py", f"{server.url}/mcp", str(COFFEE)],
        cwd=folder,
        env={**inherited(), "IMAGE_CLASSIFIER_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_configuration_files_name_the_address_and_the_key() -> None:
    claude, code = map(json.loads, blocks("json"))
    [of_claude], [of_code] = claude["mcpServers"].values(), code["servers"].values()
    for configured in (of_claude, of_code):
        assert configured["type"] == "http"
        assert configured["url"].endswith(":3000/mcp")
        assert configured["headers"]["Authorization"].startswith("Bearer ${")
    [asked] = code["inputs"]
    assert f"${{input:{asked['id']}}}" in of_code["headers"]["Authorization"]


def test_the_program_of_the_page_classifies(
    server: Server, tmp_path: Path, new_user: Callable[..., dict[str, Any]]
) -> None:
    key = new_user("--limit", "1/day")["key"]
    predictions = json.loads(run_program(server, tmp_path, key))["predictions"]
    assert (predictions[0]["label"], len(predictions)) == ("espresso", 3)
    refused = run_program(server, tmp_path, key)
    assert re.search(r"Your limit of 1/day is reached; .* retry_after: \d+ s\.", refused)

    with server.client(key) as caller:
        [classified] = caller.get("/v2/usage", params={"endpoint": "/v2/classify"}).json()["data"]
        [messages] = caller.get("/v2/usage", params={"endpoint": "/mcp"}).json()["data"]
    assert (classified["status"]["2xx"], classified["status"]["4xx"], classified["images"]) == (1, 1, 1)
    assert (messages["status"]["2xx"], messages["images"]) == (messages["requests"], 0)

    log = [line for line in server.log.read_text().splitlines() if re.search(r"Traceback|StreamableHTTP", line)]
    assert log == [], "the SDK writes nothing to the log"
