"""`python -m auth`: what is written in the wrong place, or can't be written at all, is told in one line."""

import pytest

from testing.servers import Server
from tests.auth_commands import operator
from tests.test_auth_users import on_each

__all__ = ["on_each", "operator"]

ADA = "ada@example.org"


@pytest.mark.parametrize(
    "arguments",
    [
        ["{key}"],
        ["plan", "{key}"],
        ["revoke", "Bearer {key}"],
        ["show", " {key}"],
        ["show", "usr_{key}"],
        ["usage", " {key}"],
        ["usage", "Bearer {key}"],
        ["create", "--user", "Authorization: Bearer {key}"],
        ["create", "--email", ADA, "--scope", "{key}"],
        ["revoke", "keyOfNobody1", "{key}"],
        ["export", "--format", "{key}"],
        ["meter", "resolve", "usr_/{key}", "--counted"],
        ["restore", "{key}"],
    ],
)
def test_a_key_in_any_wrong_place_is_not_repeated(operator: Server, arguments: list[str]) -> None:
    made = operator.create_key(ADA)
    # Also one with a typing error, and one that lost its prefix.
    for key in (made["key"], made["key"] + "x", made["key"][:-1], made["key"].removeprefix("imc_")):
        secret = made["key"].split("_")[2][:32]
        done = operator.auth(*(argument.replace("{key}", key) for argument in arguments))
        assert done.returncode in (1, 2)
        assert done.stderr != ""
        assert secret not in done.stderr + done.stdout


@pytest.mark.parametrize("command", [["show"], ["revoke"], ["rotate"], ["list", "--user"], ["usage"]])
def test_an_id_that_no_database_can_hold_is_refused(on_each: Server, command: list[str]) -> None:
    on_each.create_key(ADA)
    for odd in ("\udcff", "usr_\udcff", "two\nlines"):
        done = on_each.auth(*command, odd)
        assert (done.returncode, done.stdout) == (2, "")
        assert "as 'list' shows it" in done.stderr
