"""The audit log of `python -m auth`: what was changed, what was given, and who did it."""

import os
import pwd
from pathlib import Path
from unittest import mock

import pytest

from auth.cli.actor import actor
from testing.servers import Server
from tests.auth_commands import operator, told

__all__ = ["operator"]


def test_every_change_is_audited_and_a_refused_one_is_not(operator: Server) -> None:
    made = operator.create_key("ada@example.org")
    operator.auth("set-limit", made["user_id"], "7/minute")
    operator.auth("revoke", made["key_id"])
    operator.auth("revoke", made["key_id"])
    operator.auth("prune", "--older-than", "1d")
    operator.auth("list")
    entries = told(operator, "audit")["entries"]
    assert [entry["action"] for entry in entries] == ["create", "set-limit", "revoke", "prune"]
    assert all(entry["actor"] and entry["at"] for entry in entries)
    assert [entry["key_id"] for entry in entries] == [made["key_id"], None, made["key_id"], None]
    assert entries[1]["detail"]["limits"] == "7/minute"
    assert "revoke" in operator.auth("audit").stdout


def test_the_audit_log_says_what_was_given(operator: Server) -> None:
    first = told(operator, "init")
    made = operator.create_key("ada@example.org", "--limit", "5/minute", "--limit", "9/day", "--expires-in", "30d")
    again = operator.create_key("ada@example.org", "--scope", "metrics")
    told(operator, "set-limit", made["user_id"], "7/minute", "3/90s")
    new = told(operator, "rotate", made["key_id"], "--grace", "1h")
    details = [entry["detail"] for entry in told(operator, "audit")["entries"]]
    given = {"email": "ada@example.org", "limits": "5/minute,9/day", "scopes": "classify,usage"}
    assert details == [
        {"email": "first-user@localhost", "limits": "60/minute", "scopes": "classify,usage", "expires_at": None},
        {**given, "expires_at": made["expires_at"]},
        {**given, "scopes": "metrics", "expires_at": None},
        {"email": "ada@example.org", "limits": "7/minute,3/90s", "old_limits": "5/minute,9/day"},
        {
            **given,
            "limits": "7/minute,3/90s",
            "expires_at": made["expires_at"],
            "replaces": made["key_id"],
            "grace_s": 3600,
        },
    ]
    printed = operator.auth("audit").stdout
    assert "limits 7/minute,3/90s, old_limits 5/minute,9/day" in printed
    assert "expires_at none" in printed
    for key in (first, made, again, new):
        assert key["key"].rpartition("_")[2][:32] not in printed


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_longest_that_can_be_given_is_audited_whole(
    request: pytest.FixtureRequest, operator: Server, kind: str
) -> None:
    if kind == "postgresql":
        operator.environment["CLASSIFIER_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
    email = "a" * 300 + "@example.org"
    limits = [f"{100_000_000 + number}/{9_000_000 + number}s" for number in range(25)]
    made = operator.create_key(email, *(word for limit in limits for word in ("--limit", limit)))
    told(operator, "set-limit", made["user_id"], *limits[::-1])
    [_, entry] = told(operator, "audit")["entries"]
    assert entry["detail"] == {"email": email, "limits": ",".join(limits[::-1]), "old_limits": ",".join(limits)}
    more = [f"{100_000_000 + number}/{9_000_000 + number}s" for number in range(25, 50)]
    refused = operator.auth("set-limit", made["user_id"], *limits, *more)
    assert (refused.returncode, refused.stderr) == (1, "ERROR: 50 limits are too many for one user; give fewer.\n")


def test_the_actor_is_who_the_system_knows_whatever_the_environment_says(operator: Server) -> None:
    operator.environment |= dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"), "mallory")
    assert operator.auth_process("create", "--email", "ada@example.org").returncode == 0
    [entry] = told(operator, "audit")["entries"]
    assert pwd.getpwuid(os.getuid()).pw_name in entry["actor"]
    assert "mallory" not in entry["actor"]


def test_the_actor_is_also_who_logged_in_where_that_is_another(tmp_path: Path) -> None:
    """What Linux tells of the login is the outside world."""
    login, me = tmp_path / "loginuid", pwd.getpwuid(os.getuid()).pw_name
    assert actor(login) == me
    nameless = max(user.pw_uid for user in pwd.getpwall() if user.pw_uid < 4_000_000_000) + 1
    for told_by_linux, known_as in (
        (str(os.getuid()), me),
        ("4294967295", me),
        ("garbage", me),
        (str(nameless), f"uid {nameless} as {me}"),
    ):
        login.write_text(told_by_linux)
        assert actor(login) == known_as
    other = next(user for user in pwd.getpwall() if user.pw_uid not in (os.getuid(), 2**32 - 1))
    login.write_text(f"{other.pw_uid}\n")
    assert actor(login) == f"{other.pw_name} as {me}"


def test_the_actor_has_a_number_where_there_is_no_name(tmp_path: Path) -> None:
    nameless = max(user.pw_uid for user in pwd.getpwall() if user.pw_uid < 4_000_000_000) + 1
    with mock.patch("os.getuid", return_value=nameless):
        assert actor(tmp_path / "nothing") == f"uid {nameless}"
