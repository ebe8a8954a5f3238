"""`python -m auth`: users by address or id, names and last use of keys, and what ends a user's access."""

from typing import Any

import pytest

from storage.clock import unix_us
from testing.servers import Server
from tests.auth_commands import operator, told
from tests.raw_sql import RawSql

__all__ = ["operator"]

ADA = "ada@example.org"


@pytest.fixture(params=["sqlite", "postgresql"])
def on_each(request: pytest.FixtureRequest, operator: Server) -> Server:
    """The operator, with either database."""
    if request.param == "postgresql":
        operator.environment["CLASSIFIER_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
    return operator


def refusal(operator: Server, *arguments: str) -> str:
    """What the operator reads where the command is refused; nothing is printed as a result."""
    done = operator.auth(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


def raw(operator: Server) -> RawSql:
    return RawSql(operator.environment["CLASSIFIER_DATABASE_URL"])


def use(operator: Server, made: dict[str, Any], number: int = 3) -> None:
    """Rows of the usage log, as if the key had been used."""
    with raw(operator) as sql:
        for row in range(number):
            sql.change(
                "INSERT INTO usage_log (request_id, user_id, key_id, endpoint, method, status, response_ms, at_us,"
                f" images) VALUES ('req_{made['key_id']}_{row}', '{made['user_id']}', '{made['key_id']}',"
                f" '/v1/classify', 'POST', 200, 9.0, {unix_us()}, 1)"
            )


def test_a_user_is_named_by_address_or_id_in_every_command(on_each: Server) -> None:
    made = on_each.create_key(ADA)
    other = on_each.create_key("grace@example.org")
    for name in (ADA, "Ada@Example.ORG", made["user_id"]):
        assert told(on_each, "show", name)["user_id"] == made["user_id"]
        assert told(on_each, "usage", name)["email"] == ADA
        assert told(on_each, "set-limit", name, "7/minute")["email"] == ADA
        assert [key["key_id"] for key in told(on_each, "list", "--user", name)["keys"]] == [made["key_id"]]
        assert told(on_each, "disable", name)["state"] == "disabled"
        assert told(on_each, "enable", name)["state"] == "live"
    second = told(on_each, "create", "--user", made["user_id"])
    third = told(on_each, "create", "--email", "ADA@example.org")
    assert second["user_id"] == third["user_id"] == made["user_id"]
    assert [key["key_id"] for key in told(on_each, "show", ADA)["keys"]] == [
        made["key_id"],
        second["key_id"],
        third["key_id"],
    ]
    assert len(told(on_each, "list")["keys"]) == 4
    assert other["user_id"] != made["user_id"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "bob@example.org"],
        ["show", "usr_unknown"],
        ["list", "--user", "bob@example.org"],
        ["usage", "bob@example.org"],
        ["set-limit", "bob@example.org", "5/minute"],
        ["disable", "bob@example.org"],
        ["enable", "bob@example.org"],
        ["rename", "bob@example.org", "bob@example.com"],
        ["erase", "bob@example.org", "--yes"],
        ["create", "--user", "usr_unknown"],
    ],
)
def test_an_unknown_user_is_told_with_where_to_look(operator: Server, arguments: list[str]) -> None:
    operator.create_key(ADA)
    assert "There is no user" in (said := refusal(operator, *arguments))
    assert "list" in said


def test_a_key_in_the_place_of_a_user_is_not_repeated(operator: Server) -> None:
    made = operator.create_key(ADA)
    done = operator.auth("disable", made["key"])
    assert done.returncode == 2
    assert "address or id" in done.stderr
    assert made["key"] not in done.stderr


def test_an_address_is_one_user_in_upper_and_lower_case(on_each: Server) -> None:
    made = on_each.create_key("Ada@Example.org")
    assert told(on_each, "show", made["key_id"])["email"] == ADA
    grace = on_each.create_key("grace@example.org")
    assert made["user_id"] in refusal(on_each, "rename", grace["user_id"], "ADA@EXAMPLE.ORG")


def test_users_who_differ_by_case_since_earlier_versions_are_told_apart(on_each: Server) -> None:
    made = on_each.create_key(ADA)
    with raw(on_each) as sql:
        sql.change(
            "INSERT INTO users (id, email, limits, created_us) VALUES ('usr_upper', 'Ada@Example.org', '5/minute', 1)"
        )
        sql.change(
            "INSERT INTO api_keys (id, user_id, secret_sha256, scopes, created_us)"
            " VALUES ('keyOfUpper01', 'usr_upper', 'hash', 'classify', 1)"
        )
    # Written exactly, each is found as before. Otherwise both are named.
    assert told(on_each, "show", "Ada@Example.org")["user_id"] == "usr_upper"
    assert told(on_each, "show", ADA)["user_id"] == made["user_id"]
    said = refusal(on_each, "show", "ADA@example.org")
    assert "usr_upper (Ada@Example.org)" in said
    assert f"{made['user_id']} ({ADA})" in said
    told(on_each, "rename", "usr_upper", "ada.upper@example.org")
    assert told(on_each, "show", "ADA@example.org")["user_id"] == made["user_id"]


def test_a_renamed_user_keeps_keys_limits_and_usage(on_each: Server) -> None:
    made = on_each.create_key(ADA, "--limit", "9/minute")
    renamed = told(on_each, "rename", ADA, "Lovelace@example.org")
    assert (renamed["user_id"], renamed["email"]) == (made["user_id"], "lovelace@example.org")
    [key] = told(on_each, "show", "lovelace@example.org")["keys"]
    assert (key["key_id"], key["limits"], key["state"]) == (made["key_id"], ["9/minute"], "live")
    assert "no user" in refusal(on_each, "show", ADA)
    assert "already" in refusal(on_each, "rename", made["user_id"], "lovelace@example.org")
    entry = told(on_each, "audit")["entries"][-1]
    assert (entry["action"], entry["user_id"]) == ("rename", made["user_id"])
    assert entry["detail"] == {"email": "lovelace@example.org", "old_email": ADA}


def test_a_disabled_user_gets_no_new_key_and_comes_back_whole(on_each: Server) -> None:
    made = on_each.create_key(ADA)
    told(on_each, "disable", ADA)
    assert told(on_each, "show", made["key_id"])["state"] == "disabled"
    for command in (["create", "--email", ADA], ["rotate", made["key_id"]]):
        assert "enable" in refusal(on_each, *command)
    assert "already" in refusal(on_each, "disable", ADA)
    told(on_each, "enable", ADA)
    assert told(on_each, "show", made["key_id"])["state"] == "live"
    assert "not disabled" in refusal(on_each, "enable", ADA)
    assert [entry["action"] for entry in told(on_each, "audit")["entries"]] == ["create", "disable", "enable"]


def test_an_erased_user_leaves_usage_under_the_bare_id(on_each: Server) -> None:
    made = on_each.create_key(ADA, "--name", "ada's laptop")
    grace = on_each.create_key("grace@example.org", "--name", "desk")
    told(on_each, "rename", ADA, "lovelace@example.org")
    use(on_each, made)
    assert told(on_each, "erase", "lovelace@example.org", "--yes") == {
        "user_id": made["user_id"],
        "state": "erased",
        "keys": 1,
    }
    with raw(on_each) as sql:
        everything = [
            str(row)
            for table in ("users", "api_keys", "audit_log", "usage_log", "usage_rollup", "hits")
            for row in sql.rows(f"SELECT * FROM {table}")
        ]
        assert sql.rows(f"SELECT count(*) FROM usage_log WHERE user_id = '{made['user_id']}'")[0][0] == 3
        assert sql.rows(f"SELECT secret_sha256 FROM api_keys WHERE id = '{made['key_id']}'")[0][0] == ""
        # The audit log is guarded as before.
        sql.assert_refused("UPDATE audit_log SET at_us = 0", "audit_log")
        sql.assert_refused("DELETE FROM audit_log", "audit_log")
    assert not [row for row in everything for personal in (ADA, "lovelace", "laptop") if personal in row]
    assert [row for row in everything if "grace@example.org" in row and "desk" in row]
    assert told(on_each, "show", made["user_id"])["state"] == "erased"
    assert told(on_each, "show", made["key_id"])["state"] == "revoked"
    assert told(on_each, "show", grace["key_id"])["state"] == "live"
    for command in (["enable"], ["disable"], ["erase", "--yes"], ["set-limit", "5/minute"], ["rename", "a@b"]):
        assert "erased" in refusal(on_each, command[0], made["user_id"], *command[1:])
    entries = [entry for entry in told(on_each, "audit")["entries"] if entry["user_id"] == made["user_id"]]
    assert [entry["action"] for entry in entries] == ["create", "rename", "erase"]
    assert entries[1]["detail"] == {"email": "erased", "old_email": "erased"}
    # The address is free: whoever has it next is another user.
    assert on_each.create_key("lovelace@example.org")["user_id"] != made["user_id"]


def test_keys_have_names_which_a_rotation_keeps(operator: Server) -> None:
    made = operator.create_key(ADA, "--name", "ada's laptop [1]")
    assert told(operator, "show", made["key_id"])["name"] == "ada's laptop [1]"
    assert "ada's laptop [1]" in operator.auth("list").stdout
    new = told(operator, "rotate", made["key_id"])
    assert told(operator, "show", new["key_id"])["name"] == "ada's laptop [1]"
    assert told(operator, "show", operator.create_key(ADA)["key_id"])["name"] is None
    reasons = {
        "": "1 to 100 characters",
        "n" * 101: "1 to 100 characters",
        "two\nlines": "in one line",
        "my\u200dphone": "without invisible characters",
        "imc_laptop": "does not begin with imc_",
        made["key"]: "an API key",
    }
    for name, reason in reasons.items():
        done = operator.auth("create", "--email", ADA, "--name", name)
        assert (done.returncode, "--name" in done.stderr, reason in done.stderr) == (2, True, True), done.stderr


def test_a_key_in_its_grace_is_not_rotated_again(on_each: Server) -> None:
    old = on_each.create_key(ADA)
    new = told(on_each, "rotate", old["key_id"], "--grace", "1h")
    shown = told(on_each, "show", old["key_id"])
    assert (shown["state"], shown["replaced_by"]) == ("live", new["key_id"])
    said = refusal(on_each, "rotate", old["key_id"], "--grace", "30d")
    assert "rotated before" in said
    assert new["key_id"] in said
    assert told(on_each, "show", old["key_id"]) == shown
    assert len(told(on_each, "list")["keys"]) == 2


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (["5/minute", "5/minute"], "5/minute is given twice"),
        (["5/minute", "9/60s"], "5/minute and 9/minute are for the same time"),
        (["5/month"], "write 30d instead"),
        (["5/week"], "write 7d instead"),
        (["5/fortnight"], "60/30d"),
        (["5/1158d"], "at most 1157 days"),
    ],
)
def test_limits_that_say_nothing_clear_are_refused(operator: Server, limits: list[str], says: str) -> None:
    operator.create_key(ADA)
    for command in (["set-limit", ADA, *limits], ["create", "--email", ADA, *(f"--limit={limit}" for limit in limits)]):
        done = operator.auth(*command)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in done.stderr


def test_limits_for_days_and_hours_are_written_as_people_do(operator: Server) -> None:
    made = operator.create_key(ADA, "--limit", "5000/30d", "--limit", "500/12h", "--limit", "60/90s")
    # What is stored, and told to programs, is what earlier versions read too.
    assert made["limits"] == ["5000/2592000s", "500/43200s", "60/90s"]
    assert "5000/30d,500/12h,60/90s" in operator.auth("list").stdout
    assert told(operator, "set-limit", ADA, "5/1d", "7/60m")["limits"] == ["5/day", "7/hour"]


def test_postgres_is_taken_for_postgresql(operator: Server, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("postgres").new_database()
    operator.environment["CLASSIFIER_DATABASE_URL"] = url.replace("postgresql://", "postgres://", 1)
    assert operator.create_key(ADA)["user_id"] == told(operator, "show", ADA)["user_id"]
