"""`python -m auth`: what an operator types and reads."""

import json
import os
from pathlib import Path

import pytest

from auth.keys import ApiKey
from tests.servers import Server


@pytest.fixture
def operator(tmp_path: Path) -> Server:
    """Somebody with a database that does not exist yet, and no server running."""
    return Server(tmp_path / "it", tmp_path)


def test_create_prints_the_key_once(operator: Server) -> None:
    made = operator.auth("create", "--email", "ada@example.org", "--limit", "7/2s", "--limit", "1000/day")
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


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["create"], 2, "--email"),
        (["create", "--email", "nobody"], 2, "ada@example.org"),
        (["create", "--email", "a@b", "--limit", "many"], 2, "60/minute"),
        (["create", "--email", "a@b", "--limit", "0/minute"], 2, "60/minute"),
        (["create", "--email", "a@b", "--scope", "admin"], 2, "classify"),
        (["create", "--email", "a@b", "--expires-in", "soon"], 2, "30d"),
        (["fly"], 2, "create"),
        ([], 2, "COMMAND"),
        (["revoke", "unknown"], 1, "list"),
    ],
)
def test_mistakes_are_told_with_what_to_do(operator: Server, arguments: list[str], status: int, says: str) -> None:
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


def test_init_makes_a_first_user_and_only_the_first(operator: Server) -> None:
    first = operator.auth("init", "--json")
    assert json.loads(first.stdout)["limits"] == ["60/minute"]
    assert operator.auth("init", "--json").stdout.strip() == "{}"


def test_the_database_is_its_owners_alone(operator: Server) -> None:
    operator.auth("init")
    assert os.stat(operator.folder / "classifier.db").st_mode & 0o077 == 0


def test_a_wrong_setting_is_named(operator: Server) -> None:
    operator.environment["CLASSIFIER_DEFAULT_LIMIT"] = "lots"
    done = operator.auth("list")
    assert done.returncode == 1
    assert "CLASSIFIER_DEFAULT_LIMIT" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_database_out_of_reach_is_told(operator: Server) -> None:
    operator.environment["CLASSIFIER_DATABASE_URL"] = f"sqlite:///{operator.folder}"
    done = operator.auth("list")
    assert done.returncode == 1
    assert "CLASSIFIER_DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr
