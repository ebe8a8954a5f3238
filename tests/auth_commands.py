"""What the tests of `python -m auth` share: an operator, and the JSON that a command prints."""

import json
from pathlib import Path
from typing import Any

import pytest

from testing.servers import Server


@pytest.fixture
def operator(tmp_path: Path) -> Server:
    """Somebody with a database that does not exist yet, and no server running."""
    return Server(tmp_path / "it", tmp_path)


def told(operator: Server, *arguments: str) -> dict[str, Any]:
    done = operator.auth(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
