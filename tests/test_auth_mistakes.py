"""`python -m auth`: what is written in the wrong place, or can't be written at all, is told in one line."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from testing.servers import PROJECT, Server
from testing.store_servers import Postgres
from tests.auth_commands import operator, told
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


@pytest.mark.parametrize("command", [["export"], ["usage", ADA]])
def test_a_time_that_ends_before_it_begins_is_refused(operator: Server, command: list[str]) -> None:
    """An empty export looks like a month without requests."""
    operator.create_key(ADA)
    for since, until in (("2026-12-01", "2026-11-01"), ("2026-11-01", "2026-11-01T00:00Z")):
        done = operator.auth(*command, "--from", since, "--to", until)
        assert (done.returncode, done.stdout) == (2, "")
        assert "--from must be before --to" in done.stderr
    assert operator.auth(*command, "--from", "2026-11-01", "--to", "2026-12-01").returncode == 0


def in_shell(operator: Server, line: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of a shell, in which `auth` is the command."""
    auth = f'auth() {{ {shlex.quote(sys.executable)} -m auth "$@"; }}; '
    # With it, Python would keep nothing back that it can't write.
    environment = {name: value for name, value in operator.environment.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(["bash", "-c", auth + line], cwd=PROJECT, env=environment, capture_output=True, check=False)


@pytest.mark.parametrize(
    "command", ["list", "list --json", "audit", "show ada@example.org", "completion bash", "export"]
)
def test_an_output_that_takes_nothing_is_told_in_one_line(operator: Server, command: str) -> None:
    operator.create_key(ADA)
    for output, said in ((">/dev/full", b"No space left on device"), (">&-", b"closed")):
        done = in_shell(operator, f"auth {command} {output}")
        assert (done.returncode, done.stdout) == (1, b"")
        [line] = [line for line in done.stderr.splitlines() if not line.startswith(b"(Database")]
        assert line.startswith(b"ERROR: ")
        assert said in line


def test_no_key_is_made_that_nobody_can_read(operator: Server) -> None:
    operator.create_key(ADA)
    assert in_shell(operator, "auth create --email grace@example.org >&-").returncode == 1
    assert b"grace" not in in_shell(operator, "auth list").stdout


def test_without_standard_error_only_the_answer_is_on_standard_output(operator: Server) -> None:
    operator.create_key(ADA)
    for output in ("2>&-", "2>/dev/full"):
        done = in_shell(operator, f"auth list {output}")
        assert done.returncode == 0
        assert b"(Database" not in done.stdout
        assert ADA.encode() in done.stdout
        refused = in_shell(operator, f"auth show nobody {output}")
        assert (refused.returncode, refused.stdout) == (1, b"")


def test_an_alphabet_that_the_terminal_lacks_is_escaped(operator: Server) -> None:
    operator.create_key("ünï@example.org")
    done = in_shell(operator, "PYTHONIOENCODING=ascii auth list")
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)
    assert rb"\xfcn\xef@example.org" in done.stdout


@pytest.mark.parametrize("command", ["backup", "export --output", "restore", "revocations", "revoke-again"])
def test_a_file_without_a_name_or_with_an_odd_one_is_refused(operator: Server, command: str) -> None:
    operator.create_key(ADA)
    for name in ("''", r"$'\xff'", r"$'two\nlines'"):
        done = in_shell(operator, f"cd {shlex.quote(str(operator.folder))}; PYTHONPATH={PROJECT} auth {command} {name}")
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"give the name of a file" in done.stderr.splitlines()[-1]


def test_every_alphabet_is_kept_by_a_database_of_no_encoding(operator: Server, postgres: Postgres) -> None:
    """As `initdb` makes it where the locale is C."""
    plain = "ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    operator.environment["CLASSIFIER_DATABASE_URL"] = postgres.new_database(plain)
    operator.create_key("ünï€@example.org", "--name", "日本")
    assert "ünï€@example.org" in operator.auth("list").stdout
    assert told(operator, "show", "ÜNÏ€@example.org")["keys"][0]["name"] == "日本"


def test_a_database_that_lacks_most_alphabets_is_refused(operator: Server, postgres: Postgres) -> None:
    latin = "ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    operator.environment["CLASSIFIER_DATABASE_URL"] = postgres.new_database(latin)
    refused = operator.auth("init")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert "LATIN1" in refused.stderr
    assert "UTF8" in refused.stderr


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('{"read_us": 1e999, "keys": [], "users": []}', id="endless number"),
        pytest.param('{"read_us": 1, "keys": [1], "users": []}', id="no key"),
        pytest.param("", id="empty"),
    ],
)
def test_a_file_that_is_no_list_of_revocations_is_refused(operator: Server, tmp_path: Path, content: str) -> None:
    operator.create_key(ADA)
    listed = tmp_path / "list.json"
    listed.write_text(content)
    for command in ("revoke-again", "revocations"):
        done = operator.auth(command, str(listed))
        assert (done.returncode, done.stdout) == (1, "")
        assert "is no whole list" in done.stderr
    assert listed.read_text() == content


def test_a_list_of_revocations_replaces_no_device(operator: Server) -> None:
    operator.create_key(ADA)
    for device in ("/dev/null", "/dev/zero"):
        done = operator.auth("revocations", device)
        assert (done.returncode, done.stdout) == (1, "")
        assert "is no file" in done.stderr
    assert not Path("/dev/zero").is_file()
