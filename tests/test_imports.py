"""What a server on a CPU loads: nothing that it does not use. Each module costs every start time and memory."""

import re
from pathlib import Path

from testing.callers import BODY
from testing.server_meter import processes
from testing.servers import Server

# torch, transformers and MCP's SDK cost seconds and hundreds of megabytes; the others some hundredths of a second each.
NOT_LOADED = ["torch", "transformers", "nncf", "mcp", "alembic", "aiohttp", "rich", "httpx", "httpx_ws"]
NOT_LOADED += ["standardwebhooks", "stripe", "jinja2", "openvino_telemetry"]
# Either the supervisor uses them or the worker, not both.
LOADED_ONCE = (
    "numpy",
    "sqlalchemy",
    "PIL",
    "openvino",
    "circus",
    "api.v2",
    "inference.classifier",
    "_bentoml_impl.server.serving",
)


# What all processes of a server on a CPU take together, at rest, after its first answer.
MOST_MB = 350


def memory_mb(root: int) -> float:
    """The memory of a server's processes. A page that several processes have is counted once, in parts."""
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in processes(root)]
    return sum(int(kilobytes) for text in texts for kilobytes in re.findall(r"^Pss: +(\d+)", text, re.MULTILINE)) / 1024


def test_a_server_loads_only_what_it_uses(tmp_path: Path, model_store: Path) -> None:
    # Python then tells every module that it imports, in each process.
    server = Server(tmp_path / "it", model_store, PYTHONPROFILEIMPORTTIME="1")
    server.start()
    try:
        with server.client(server.create_key("it@example.org")["key"]) as client:
            assert client.post("/v1/classify", json=BODY).status_code == 200
        at_rest_mb = memory_mb(server.pid)
    finally:
        server.end()
    told = [line.rpartition("|")[2].strip() for line in server.log.read_text().splitlines() if "import time:" in line]
    assert [name for name in told if name.partition(".")[0] in NOT_LOADED] == []
    assert {name: told.count(name) for name in LOADED_ONCE} == dict.fromkeys(LOADED_ONCE, 1)
    assert 100 < at_rest_mb < MOST_MB
