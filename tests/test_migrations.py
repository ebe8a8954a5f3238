"""Bringing a database up to date, on both databases: from empty, and from the first release's tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import insert, text

from storage import rollup
from storage.database import Database, create_sqlite_file
from storage.errors import Refused
from storage.migrate import SCRIPTS, migrate
from storage.models import api_keys, metadata, usage_log, users

AT_US = 1_700_000_000_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres").new_database())
    return f"sqlite:///{tmp_path}/it.db"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    create_sqlite_file(url)
    database = Database(url)
    yield database
    database.close()


def upgrade_to(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))

    def run(connection) -> None:  # type: ignore[no-untyped-def]
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    database.change(run)


def differences(database: Database) -> list[object]:
    def compare(connection) -> list[object]:  # type: ignore[no-untyped-def]
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    return database.ask(compare)


def test_an_empty_database_gets_every_table(url: str, database: Database) -> None:
    migrate(url)
    assert differences(database) == []
    migrate(url)
    assert differences(database) == []


def test_the_first_releases_database_keeps_all_and_is_added_up(url: str, database: Database) -> None:
    upgrade_to(database, "0001")
    user = {"id": "usr_1", "email": "a@b", "limits": "5/minute", "created_us": AT_US}
    key = {"id": "key", "user_id": "usr_1", "secret_sha256": "hash", "scopes": "classify", "created_us": AT_US}
    row = {"user_id": "usr_1", "key_id": "key", "endpoint": "/v1/classify", "method": "POST", "response_ms": 12.0}
    statuses = (200, 200, 400, 429)

    def fill(connection) -> None:  # type: ignore[no-untyped-def]
        connection.execute(insert(users).values(user))
        connection.execute(insert(api_keys).values(key))
        for number, status in enumerate(statuses):
            own = {"request_id": f"req_{number}", "status": status, "at_us": AT_US, "images": int(status != 429)}
            connection.execute(insert(usage_log).values({**row, **own}))

    database.change(fill)
    migrate(url)
    assert differences(database) == []
    tally = database.ask(lambda connection: rollup.totals(connection, "usr_1"))
    assert (tally.requests, dict(tally.statuses)) == (3, {200: 2, 400: 1})
    assert tally.mean_ms == pytest.approx(12.0)
    assert tally.percentile_ms(0.5) == pytest.approx(12.0, rel=0.025)


def test_a_later_releases_database_is_refused(url: str, database: Database) -> None:
    migrate(url)
    database.change(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(Refused, match="later version"):
        migrate(url)
