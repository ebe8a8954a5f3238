"""What a server on a CPU does not load, since it costs seconds or hundreds of megabytes."""

from pathlib import Path

from testing.callers import BODY
from testing.servers import Server

# MCP's SDK is loaded when the first agent comes.
LEFT_OUT = ("torch", "transformers", "nncf", "mcp")


def test_serving_on_a_cpu_imports_nothing_that_it_does_not_need(tmp_path: Path, model_store: Path) -> None:
    # Python then tells every module that it imports, in each process.
    server = Server(tmp_path / "it", model_store, PYTHONPROFILEIMPORTTIME="1")
    server.start()
    try:
        with server.client(server.create_key("it@example.org")["key"]) as client:
            assert client.post("/v1/classify", json=BODY).status_code == 200
    finally:
        server.end()
    told = [line.rpartition("|")[2].strip() for line in server.log.read_text().splitlines() if "import time:" in line]
    assert "openvino" in told, "imports were not told"
    assert [name for name in told if name.partition(".")[0] in LEFT_OUT] == []
