"""What the tests of `python -m auth move` share: an operator, the old and the new database, and runs of the command."""

import json
from pathlib import Path
from typing import Any

import pytest

from testing.empty_databases import make_tables
from testing.servers import Server
from testing.store_servers import Postgres


@pytest.fixture
def operator(tmp_path: Path) -> Server:
    """The command line with an SQLite database of its own, which has empty tables."""
    operator = Server(tmp_path / "it", tmp_path)
    make_tables(operator.environment["CLASSIFIER_DATABASE_URL"])
    return operator


@pytest.fixture
def old(operator: Server) -> str:
    return operator.environment["CLASSIFIER_DATABASE_URL"]


@pytest.fixture
def new(postgres: Postgres) -> str:
    return postgres.new_database()


def move(operator: Server, to: str) -> dict[str, Any]:
    done = operator.auth("move", "--to", to, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def refused(operator: Server, to: str) -> str:
    done = operator.auth("move", "--to", to)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()[-1]
