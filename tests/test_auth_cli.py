"""`python -m auth`: what an operator types and reads."""

import json
import os
import time
from datetime import datetime

import pytest
from sqlalchemy import make_url

from auth.api_key import ApiKey
from testing.servers import Server
from testing.store_servers import Postgres
from tests.auth_commands import operator, told

__all__ = ["operator"]


def test_create_prints_the_key_once(operator: Server) -> None:
    made = operator.auth_process("create", "--email", "ada@example.org", "--limit", "7/2s", "--limit", "1000/day")
    assert made.returncode == 0
    key = next(word for word in made.stdout.split() if word.startswith("imc_"))
    assert ApiKey.parse(key) is not None
    assert "never again" in made.stdout
    listed = operator.auth("list")
    assert key not in listed.stdout
    assert "ada@example.org" in listed.stdout
    assert "7/2s,1000/day" in listed.stdout


def test_json_is_one_document_of_the_contracts_shape(operator: Server) -> None:
    made = operator.create_key("ada@example.org", "--limit", "60/minute", "--scope", "usage", "--expires-in", "30d")
    assert set(made) == {"user_id", "key_id", "key", "limits", "scopes", "expires_at"}
    assert made["limits"] == ["60/minute"]
    assert made["scopes"] == ["usage"]
    assert made["expires_at"].endswith("+00:00")
    again = operator.create_key("ada@example.org")
    assert again["user_id"] == made["user_id"]
    assert again["limits"] == ["60/minute"]
    assert again["scopes"] == ["classify", "usage"]
    assert again["expires_at"] is None
    revoked = operator.auth("revoke", made["key_id"], "--json")
    assert json.loads(revoked.stdout)["state"] == "revoked"
    keys = json.loads(operator.auth("list", "--json").stdout)["keys"]
    assert [(key["key_id"], key["state"]) for key in keys] == [(made["key_id"], "revoked"), (again["key_id"], "live")]


def test_one_option_takes_several_values_and_may_come_again(operator: Server) -> None:
    limits = ("--limit", "7/2s", "1000/day", "--limit", "5000/90s")
    made = operator.create_key("ada@example.org", *limits, "--scope", "usage", "keys", "--scope", "metrics")
    assert made["limits"] == ["7/2s", "1000/day", "5000/90s"]
    assert made["scopes"] == ["keys", "metrics", "usage"]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["create"], 2, "--email"),
        (["create", "--email", "nobody"], 2, "ada@example.org"),
        (["create", "--email", "a@b", "--limit", "many"], 2, "60/minute"),
        (["create", "--email", "a@b", "--limit", "0/minute"], 2, "60/minute"),
        (["create", "--email", "a@b", "--scope", "root"], 2, "classify"),
        (["create", "--email", "a@b", "--expires-in", "soon"], 2, "30d"),
        (["create", "--email", "a@b", "--expires-in", "999999999d"], 2, "100 years"),
        (["export", "--to", "9999-12-31T23:59:59-12:00"], 2, "2026-11-01"),
        (["usage", "a@b", "--from", "0001-01-01T00:00:00+14:00"], 2, "2026-11-01"),
        (["set-customer", "a@b", "cus_1", "--from", "9999-12-31T23:00:00-12:00"], 2, "2026-11-01"),
        (["plan", "create", "p", "--price=1", "--currency=EUR", "--from=9999-12-31T23:00:00-12:00"], 2, "2026-11-01"),
        (["create", "--email", "a@b", "--expires-in", "1٣d"], 2, "30d"),
        (["create", "--email", "a@b", "--quota", "1٣/day"], 2, "500/day"),
        (["plan", "create", "p", "--price", "1٣", "--currency", "EUR"], 2, "1.50"),
        (["fly"], 2, "create"),
        ([], 2, "COMMAND"),
        (["revoke", "unknown"], 1, "list"),
    ],
)
def test_mistakes_are_told_with_what_to_do(operator: Server, arguments: list[str], status: int, says: str) -> None:
    operator.auth("init")
    done = operator.auth(*arguments)
    assert done.returncode == status
    assert says in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_what_exists_is_not_changed_by_the_way(operator: Server) -> None:
    made = operator.create_key("ada@example.org", "--limit", "5/minute")
    other_limit = operator.auth("create", "--email", "ada@example.org", "--limit", "6/minute")
    assert (other_limit.returncode, "without --limit" in other_limit.stderr) == (1, True)
    assert operator.auth("revoke", made["key_id"]).returncode == 0
    assert operator.auth("revoke", made["key_id"]).returncode == 1


def test_show_tells_all_but_the_secret(operator: Server) -> None:
    made = operator.create_key("ada@example.org", "--scope", "usage")
    shown = told(operator, "show", made["key_id"])
    assert (shown["email"], shown["state"], shown["scopes"]) == ("ada@example.org", "live", ["usage"])
    # A whole key will do, and is not told back.
    assert told(operator, "show", made["key"]) == shown
    assert made["key"] not in operator.auth("show", made["key"]).stdout


def test_rotation_gives_a_new_key_and_lets_the_old_one_end(operator: Server) -> None:
    old = operator.create_key("ada@example.org", "--limit", "9/minute", "--scope", "metrics", "--expires-in", "30d")
    began_s = time.time()
    new = told(operator, "rotate", old["key_id"], "--grace", "1h")
    assert set(new) == set(old)
    assert (new["user_id"], new["limits"], new["scopes"]) == (old["user_id"], ["9/minute"], ["metrics"])
    assert new["expires_at"] == old["expires_at"]
    graced = told(operator, "show", old["key_id"])
    assert graced["state"] == "live"
    # (The time is told in whole seconds.)
    assert began_s - 1 < datetime.fromisoformat(graced["expires_at"]).timestamp() - 3600 < time.time() + 1
    newest = told(operator, "rotate", new["key_id"])
    assert told(operator, "show", new["key_id"])["state"] == "revoked"
    assert told(operator, "show", newest["key_id"])["state"] == "live"
    assert "revoked or expired" in operator.auth("rotate", new["key_id"]).stderr


def test_a_users_limits_can_be_set(operator: Server) -> None:
    made = operator.create_key("ada@example.org")
    assert told(operator, "set-limit", made["user_id"], "7/2s", "100/day")["limits"] == ["7/2s", "100/day"]
    assert told(operator, "show", made["key_id"])["limits"] == ["7/2s", "100/day"]
    refused = operator.auth("set-limit", "usr_unknown", "5/minute")
    assert (refused.returncode, "list" in refused.stderr) == (1, True)


def test_usage_of_a_user_who_has_used_nothing(operator: Server) -> None:
    made = operator.create_key("ada@example.org")
    document = told(operator, "usage", made["user_id"])
    assert document["total"] == {"requests": 0, "images": 0, "statuses": {}}
    assert document["data"] == []
    assert operator.auth("usage", "usr_unknown").returncode == 1


def test_init_makes_a_first_user_and_only_the_first(operator: Server) -> None:
    first = operator.auth("init", "--json")
    assert json.loads(first.stdout)["limits"] == ["60/minute"]
    assert operator.auth("init", "--json").stdout.strip() == "{}"


def test_the_database_is_its_owners_alone(operator: Server) -> None:
    operator.auth("init")
    assert os.stat(operator.folder / "classifier.db").st_mode & 0o077 == 0


def test_a_wrong_setting_is_named(operator: Server) -> None:
    operator.environment["CLASSIFIER_DEFAULT_LIMIT"] = "lots"
    done = operator.auth_process("list")
    assert done.returncode == 1
    assert "CLASSIFIER_DEFAULT_LIMIT" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_database_out_of_reach_is_told(operator: Server) -> None:
    operator.environment["CLASSIFIER_DATABASE_URL"] = f"sqlite:///{operator.folder}"
    done = operator.auth_process("list")
    assert done.returncode == 1
    assert "CLASSIFIER_DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_only_reads_or_changes_creates_no_database(operator: Server) -> None:
    """From another folder, or without the server's variable, it would work on an empty one, and say nothing."""
    for command in (
        ["list"],
        ["audit"],
        ["show", "k"],
        ["revoke", "k"],
        ["usage", "usr_1"],
        ["prune", "--older-than", "1d"],
    ):
        done = operator.auth(*command)
        assert done.returncode == 1
        assert f"There is no database at {operator.folder}/classifier.db" in done.stderr
        assert "CLASSIFIER_DATABASE_URL" in done.stderr
    assert not (operator.folder / "classifier.db").exists()


def test_each_command_tells_which_database_it_talks_to(operator: Server, postgres: Postgres) -> None:
    assert f"(Database: {operator.folder}/classifier.db)" in operator.auth("init").stderr
    assert operator.auth("list", "--json").stderr == ""
    url = make_url(postgres.new_database()).set(password="sesame")
    operator.environment["CLASSIFIER_DATABASE_URL"] = url.render_as_string(hide_password=False)
    told = operator.auth("init").stderr
    assert f"(Database: {url.database} on " in told
    assert "sesame" not in told
