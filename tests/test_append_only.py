"""The database refuses to change or delete rows of the audit log and the usage log: tried with plain SQL."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.clock import unix_us
from testing.servers import Server
from tests.raw_sql import RawSql

DAY_US = 86400 * 1_000_000
OLD, NEW = 500, 20


@pytest.fixture(params=["sqlite", "postgresql"])
def operator(request: pytest.FixtureRequest, tmp_path: Path) -> Server:
    """An operator with a database, without a running server."""
    settings = {}
    if request.param == "postgresql":
        settings["CLASSIFIER_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
    return Server(tmp_path / "it", tmp_path, **settings)


@pytest.fixture
def raw(operator: Server) -> Iterator[RawSql]:
    """The database, with a user, with rows of the usage log from a week ago and from today."""
    made = operator.create_key("ada@example.org", "--limit", "60/minute")
    with RawSql(operator.environment["CLASSIFIER_DATABASE_URL"]) as raw:
        rows = [
            f"('req_{number}', '{made['user_id']}', '{made['key_id']}', '/v1/classify', 'POST', 200, 9.0,"
            f" {unix_us() - 7 * DAY_US * (number < OLD)}, 1)"
            for number in range(OLD + NEW)
        ]
        raw.change(
            "INSERT INTO usage_log (request_id, user_id, key_id, endpoint, method, status, response_ms, at_us, images)"
            f" VALUES {', '.join(rows)}"
        )
        yield raw


def count(raw: RawSql) -> int:
    return int(raw.rows("SELECT count(*) FROM usage_log")[0][0])


@pytest.mark.parametrize("table", ["audit_log", "usage_log"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {} SET at_us = at_us + 1",
        "UPDATE {} SET user_id = NULL WHERE id = 1",
        "UPDATE {} SET id = id + 100000",
        "DELETE FROM {}",
        "DELETE FROM {} WHERE id = 1",
        "DELETE FROM {} WHERE at_us < 1 OR id = (SELECT max(id) FROM {})",
    ],
)
def test_no_row_is_changed_or_deleted(raw: RawSql, table: str, statement: str) -> None:
    raw.assert_refused(statement.replace("{}", table), table)


@pytest.mark.parametrize("table", ["audit_log", "usage_log"])
def test_no_statement_that_only_one_database_has_gets_round_it(operator: Server, raw: RawSql, table: str) -> None:
    if operator.environment["CLASSIFIER_DATABASE_URL"].startswith("sqlite"):
        raw.assert_refused(f"UPDATE OR REPLACE {table} SET id = 1", table)
        raw.assert_refused("REPLACE INTO audit_log SELECT id, 0, 'mallory', '', '', '', '' FROM audit_log", "audit_log")
        into = "user_id, key_id, endpoint, method, status, response_ms, at_us, images)"
        columns = "user_id, key_id, endpoint, method, 500, response_ms, at_us, 0 FROM usage_log"
        replace = f"REPLACE INTO usage_log (id, request_id, {into} SELECT"
        raw.assert_refused(f"{replace} id, request_id, {columns}", "usage_log")
        raw.assert_refused(f"{replace} id + 100000, request_id, {columns}", "usage_log")
    else:
        raw.assert_refused(f"TRUNCATE {table}", table)
        raw.assert_refused(f"TRUNCATE {table} CASCADE", table)
        raw.assert_refused(f"WITH gone AS (DELETE FROM {table} RETURNING id) SELECT count(*) FROM gone", table)
        raw.assert_refused(f"INSERT INTO {table} SELECT * FROM {table} ON CONFLICT (id) DO UPDATE SET at_us = 0", table)


def test_prune_deletes_what_is_old_and_leaves_the_guard_where_it_was(operator: Server, raw: RawSql) -> None:
    assert operator.auth("prune", "--older-than", "1d", "--json").stdout == f'{{"deleted": {OLD}, "messages": 0}}\n'
    assert count(raw) == NEW
    raw.assert_refused("DELETE FROM usage_log", "usage_log")
    raw.assert_refused("UPDATE usage_log SET images = 0", "usage_log")
    entries = json.loads(operator.auth("audit", "--json").stdout)["entries"]
    assert [entry["action"] for entry in entries] == ["create", "prune"]
    assert entries[1]["detail"] == {"older_than_s": 86400, "deleted": OLD, "messages": 0}


def test_a_backup_is_kept_from_being_rewritten_too(operator: Server, raw: RawSql, tmp_path: Path) -> None:
    if not operator.environment["CLASSIFIER_DATABASE_URL"].startswith("sqlite"):
        pytest.skip("PostgreSQL is backed up by its own tools, which carry triggers")
    copy = tmp_path / "copy.db"
    assert operator.auth("backup", str(copy)).returncode == 0
    with RawSql(f"sqlite:///{copy}") as copied:
        assert count(copied) == OLD + NEW
        for table in ("audit_log", "usage_log"):
            copied.assert_refused(f"DELETE FROM {table}", table)
            copied.assert_refused(f"UPDATE {table} SET at_us = 0", table)


def test_a_prune_that_fails_half_way_leaves_the_guard_where_it_was(operator: Server, raw: RawSql) -> None:
    """The deletion is allowed, and then fails: another table refers to one of the rows."""
    raw.change("CREATE TABLE held (id integer PRIMARY KEY, request text REFERENCES usage_log (request_id))")
    raw.change("INSERT INTO held VALUES (1, 'req_3')")
    assert operator.auth_process("prune", "--older-than", "1d").returncode != 0
    assert count(raw) == OLD + NEW
    raw.assert_refused("DELETE FROM usage_log WHERE request_id = 'req_1'", "usage_log")
