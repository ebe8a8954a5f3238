"""A server whose database has no user yet says how to create a key, by the very command."""

import json
import logging
import re
import subprocess
from pathlib import Path

import pytest

from api.start import tell_how_to_create_a_key
from testing.empty_databases import make_tables
from testing.servers import PROJECT, Server

COMMAND = re.compile(r"There is no API key yet; create one: (.+)$", re.MULTILINE)


def test_the_start_tells_the_command_that_creates_a_key(server: Server) -> None:
    [command] = COMMAND.findall(server.log.read_text())
    done = subprocess.run(
        ["sh", "-c", f"{command} --json"],
        cwd=PROJECT,
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with server.client(json.loads(done.stdout)["key"]) as client:
        assert client.get("/v1/usage").status_code == 200


def test_with_a_user_nothing_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = f"sqlite:///{tmp_path}/it.db"
    make_tables(database)
    with caplog.at_level(logging.WARNING, "bentoml.classifier"):
        tell_how_to_create_a_key(database)
        assert len(caplog.records) == 1
        caplog.clear()
        operator = Server(tmp_path / "it", tmp_path, CLASSIFIER_DATABASE_URL=database)
        operator.create_key("ada@example.org")
        tell_how_to_create_a_key(database)
    assert caplog.records == []
