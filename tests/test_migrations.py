"""Bringing a database up to date, on both databases: from empty, and from the tables of every earlier release."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import text

from storage import audit, keys, rollup, usage
from storage.database import Database, create_sqlite_file
from storage.errors import Refused
from storage.first_look import SCRIPTS
from storage.migrate import migrate
from storage.models import metadata
from tests.raw_sql import RawSql

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


def fill(raw: RawSql, limits: str = "5/minute") -> None:
    """A user with a key and four requests, in the words of the first release."""
    raw.change(f"INSERT INTO users (id, email, limits, created_us) VALUES ('usr_1', 'a@b', '{limits}', {AT_US})")
    raw.change(
        "INSERT INTO api_keys (id, user_id, secret_sha256, scopes, created_us)"
        f" VALUES ('key', 'usr_1', 'hash', 'classify', {AT_US})"
    )
    for number, status in enumerate((200, 200, 400, 429)):
        raw.change(
            "INSERT INTO usage_log (request_id, user_id, key_id, endpoint, method, status, response_ms, at_us, images)"
            f" VALUES ('req_{number}', 'usr_1', 'key', '/v1/classify', 'POST', {status}, 12.0, {AT_US},"
            f" {int(status != 429)})"
        )


def test_the_first_releases_database_keeps_all_and_is_added_up(url: str, database: Database) -> None:
    upgrade_to(database, "0001")
    with RawSql(url) as raw:
        fill(raw)
    migrate(url)
    assert differences(database) == []
    tally = database.ask(lambda connection: rollup.totals(connection, "usr_1"))
    assert (tally.requests, dict(tally.statuses)) == (3, {200: 2, 400: 1})
    assert tally.mean_ms == pytest.approx(12.0)
    assert tally.percentile_ms(0.5) == pytest.approx(12.0, rel=0.025)


ROLL_UP = "user_id, width_s, start_s, endpoint, status, admitted, bin"


def test_the_first_releases_rows_are_added_up_as_new_ones_are(url: str, database: Database) -> None:
    """Rows at the borders of minutes and bins, and beyond them."""
    times_ms = [0.0, 0.001, 1.0, 1.05, 1.0501, 12.0, 999.9, 1e9]
    logged = [
        rollup.RollupInput("usr_1", f"/v{number % 2}", 200 + number % 3, times_ms[number % 8], at_us, number % 2)
        for number, at_us in enumerate(range(AT_US, AT_US + 3 * 86_400_000_000, 1_799_999_999))
    ]
    upgrade_to(database, "0001")
    with RawSql(url) as raw:
        fill(raw)
        raw.change("DELETE FROM usage_log")
        rows = ", ".join(
            f"('req_{number}', 'usr_1', 'key', '{row.endpoint}', 'POST', {row.status}, {row.response_ms}, {row.at_us},"
            f" {row.images})"
            for number, row in enumerate(logged)
        )
        raw.change(
            "INSERT INTO usage_log (request_id, user_id, key_id, endpoint, method, status, response_ms, at_us, images)"
            f" VALUES {rows}"
        )
    migrate(url)
    sums = f"SELECT {ROLL_UP}, requests, images FROM usage_rollup WHERE width_s >= 0 ORDER BY {ROLL_UP}"
    with RawSql(url) as raw:
        migrated = raw.rows(sums)
        raw.change("DELETE FROM usage_rollup")
        database.change(lambda connection: rollup.add(connection, logged))
        assert migrated == raw.rows(sums)


@pytest.mark.parametrize("revision", ["0001", "0002"])
@pytest.mark.parametrize(
    ("limits", "kept_s"), [("5/minute", 86400), ("60/minute,1000/day", 86400), ("5/second,9/90s,7/2592000s", 2592000)]
)
def test_hits_are_kept_for_the_longest_limit_that_a_user_has(
    url: str, database: Database, revision: str, limits: str, kept_s: int
) -> None:
    upgrade_to(database, revision)
    with RawSql(url) as raw:
        fill(raw, limits)
    migrate(url)
    assert differences(database) == []
    assert database.ask(lambda connection: keys.require(connection, "key")).hits_kept_s == kept_s
    with RawSql(url) as raw:
        assert raw.rows("SELECT hits_kept_s FROM users") == [(kept_s,)]


@pytest.mark.parametrize("revision", ["0001", "0002", "head"])
def test_the_logs_of_every_release_can_be_added_to_and_not_rewritten(
    url: str, database: Database, revision: str
) -> None:
    upgrade_to(database, revision)
    with RawSql(url) as raw:
        fill(raw)
        if revision == "0002":
            raw.change(
                "INSERT INTO audit_log (at_us, actor, action, user_id, key_id, detail)"
                f""" VALUES ({AT_US}, 'ada', 'create', 'usr_1', 'key', '{{"email": "a@b"}}')"""
            )
    migrate(url)
    kept = [audit.Entry(AT_US, "ada", "create", "usr_1", "key", {"email": "a@b"})] if revision == "0002" else []
    assert database.ask(audit.every) == kept
    entry = audit.Entry(AT_US, "ada", "set-limit", "usr_1", None, {"limits": "5/minute," * 1000})
    database.change(lambda connection: audit.record(connection, entry))
    row = usage.UsageRow("req_new", "usr_1", "key", "/v1/usage", "GET", 200, 1.0, AT_US, 0)
    database.change(lambda connection: usage.record(connection, [row]))
    with RawSql(url) as raw:
        for table in ("audit_log", "usage_log"):
            raw.assert_refused(f"DELETE FROM {table}", table)
            raw.assert_refused(f"UPDATE {table} SET at_us = 0", table)
    assert database.ask(audit.every) == [*kept, entry]
    assert database.ask(usage.count) == 5


def add_user(raw: RawSql, number: int, email: str) -> None:
    raw.change(
        "INSERT INTO users (id, email, limits, created_us)"
        f" VALUES ('usr_{number}', '{email}', '5/minute', {AT_US + number})"
    )


def emails(raw: RawSql) -> dict[str, str]:
    return dict(raw.rows("SELECT id, email FROM users"))  # type: ignore[arg-type]


def test_addresses_come_into_lower_case_and_none_is_lost(
    url: str, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade_to(database, "0003")
    given = ["Ada@Example.org", "grace@example.org", "Bob@example.org", "bob@example.org", "ÄNNE@example.org"]
    with RawSql(url) as raw:
        for number, email in enumerate(given):
            add_user(raw, number, email)
    migrate(url)
    with RawSql(url) as raw:
        # Bob and bob stay apart: nothing tells that they are one person.
        assert emails(raw) == {
            "usr_0": "ada@example.org",
            "usr_1": "grace@example.org",
            "usr_2": "Bob@example.org",
            "usr_3": "bob@example.org",
            "usr_4": "änne@example.org",
        }
    [said] = [record.getMessage() for record in caplog.records]
    assert "usr_2 and usr_3 differ only in upper and lower case" in said
    assert "python -m auth rename" in said
    assert [(entry.action, entry.user_id, entry.detail) for entry in database.ask(audit.every)] == [
        ("rename", "usr_0", {"email": "ada@example.org", "old_email": "Ada@Example.org"}),
        ("keep-apart", "usr_2", {"same_address_as": "usr_3"}),
        ("keep-apart", "usr_3", {"same_address_as": "usr_2"}),
        ("rename", "usr_4", {"email": "änne@example.org", "old_email": "ÄNNE@example.org"}),
    ]


def test_uses_and_rotations_of_earlier_releases_are_known(url: str, database: Database) -> None:
    upgrade_to(database, "0003")
    with RawSql(url) as raw:
        fill(raw)
        for key in ("rotated", "new"):
            raw.change(
                "INSERT INTO api_keys (id, user_id, secret_sha256, scopes, created_us)"
                f" VALUES ('{key}', 'usr_1', 'hash', 'classify', {AT_US})"
            )
        raw.change(
            "INSERT INTO audit_log (at_us, actor, action, user_id, key_id, detail)"
            f""" VALUES ({AT_US}, 'ada', 'rotate', 'usr_1', 'new', '{{"replaces": "rotated"}}')"""
        )
    migrate(url)
    found = {key.key_id: (key.last_used_us, key.replaced_by) for key in database.ask(keys.every)}
    assert found == {"key": (AT_US - AT_US % 60_000_000, None), "rotated": (None, "new"), "new": (None, None)}


def test_what_was_logged_before_images_were_billed_is_unknown_and_stays_so(url: str, database: Database) -> None:
    upgrade_to(database, "0004")
    with RawSql(url) as raw:
        fill(raw)
        raw.change(
            "INSERT INTO usage_rollup (user_id, width_s, start_s, endpoint, status, admitted, bin, requests, images,"
            " total_ms) VALUES ('usr_1', 0, 0, '/v1/classify', 200, 1, 51, 2, 2, 24.0)"
        )
    migrate(url)
    assert differences(database) == []
    before = database.ask(lambda connection: rollup.totals(connection, "usr_1"))
    assert (before.requests, before.billable, before.cost_nanos) == (2, None, 0)
    row = usage.UsageRow("req_new", "usr_1", "key", "/v1/classify", "POST", 200, 12.0, AT_US, 1, 1, "m", "r", "pro")
    database.change(lambda connection: usage.record(connection, [row]))
    # The same row of the roll-up: what is known of it is counted.
    after = database.ask(lambda connection: rollup.totals(connection, "usr_1"))
    assert (after.requests, after.billable) == (3, 1)
    with RawSql(url) as raw:
        found = raw.rows("SELECT billable, model, revision, plan FROM usage_log ORDER BY id")
        assert [tuple(row) for row in found] == [(None, "", "", "")] * 4 + [(1, "m", "r", "pro")]
        assert raw.rows("SELECT has_own_limits, quotas, plan FROM users") == [(1, None, None)]
        raw.assert_refused("UPDATE usage_log SET billable = 1", "usage_log")


def test_a_later_releases_database_is_refused(url: str, database: Database) -> None:
    migrate(url)
    database.change(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(Refused, match="later version"):
        migrate(url)


def test_another_programs_database_is_refused_and_stays_as_it_is(url: str, database: Database) -> None:
    """Also where that program keeps its migrations as this one does."""
    for other in ("CREATE TABLE users (x INTEGER)", "CREATE TABLE alembic_version (version_num VARCHAR(32))"):
        with RawSql(url) as raw:
            raw.change(other)
        with pytest.raises(Refused, match="another program"):
            migrate(url)
        with RawSql(url) as raw:
            assert raw.rows("SELECT count(*) FROM users")[0][0] == 0
