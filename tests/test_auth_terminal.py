"""`python -m auth` at a terminal, in a pipe and in a job at night: what it asks, and how it prints."""

import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

from auth.cli.main import main
from storage.clock import unix_us
from testing.servers import PROJECT, Server
from tests.raw_sql import RawSql

ADA = "ada@example.org"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Screen(io.StringIO):
    """A terminal, as far as a program can ask."""

    def isatty(self) -> bool:
        return True


class Person:
    """Somebody at a terminal, who types the same answer whenever they are asked."""

    def __init__(self, operator: Server, environment: dict[str, str]) -> None:
        self._environment = {**operator.environment, "TERM": "xterm-256color", "COLUMNS": "220", **environment}
        self.printed = ""
        self.asked = ""

    def runs(self, *arguments: str, types: str = "") -> int:
        out, err = Screen(), Screen()
        with (
            mock.patch.dict("os.environ", self._environment, clear=True),
            mock.patch("sys.stdin", Screen(types)),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            status = main(list(arguments))
        self.printed, self.asked = out.getvalue(), err.getvalue()
        return status


@pytest.fixture
def operator(tmp_path: Path) -> Server:
    """A database with a user, whose requests of a week ago are in the usage log; no terminal."""
    server = Server(tmp_path / "it", tmp_path)
    made = server.create_key(ADA, "--limit", "60/minute")
    with RawSql(server.environment["CLASSIFIER_DATABASE_URL"]) as raw:
        for number in range(3):
            at_us = unix_us() - 7 * 86400 * 1_000_000 * (number < 2)
            raw.change(
                "INSERT INTO usage_log (request_id, user_id, key_id, endpoint, method, status, response_ms, at_us,"
                f" images) VALUES ('req_{number}', '{made['user_id']}', '{made['key_id']}', '/v1/classify', 'POST',"
                f" 200, 9.0, {at_us}, 1)"
            )
    return server


@pytest.fixture
def person(operator: Server) -> Person:
    return Person(operator, {})


def rows_left(operator: Server) -> int:
    with RawSql(operator.environment["CLASSIFIER_DATABASE_URL"]) as raw:
        return int(raw.rows("SELECT count(*) FROM usage_log")[0][0])


@pytest.mark.parametrize("types", ["", "\n", "n\n", "what?\n"])
def test_who_does_not_say_yes_changes_nothing(operator: Server, person: Person, types: str) -> None:
    for command in (["erase", ADA], ["prune", "--older-than", "1d"]):
        assert person.runs(*command, types=types) == 1
        assert "[y/N]" in person.asked
        assert "Nothing was changed" in person.asked
        assert person.printed == ""
    assert rows_left(operator) == 3
    assert json.loads(operator.auth("show", ADA, "--json").stdout)["state"] == "live"


@pytest.mark.parametrize("types", ["y\n", "YES\n"])
def test_a_question_says_what_will_be_gone(operator: Server, person: Person, types: str) -> None:
    assert person.runs("prune", "--older-than", "1d", types=types) == 0
    assert "Delete the 2 rows of the usage log before" in person.asked
    assert rows_left(operator) == 1
    assert person.runs("erase", ADA, "--json", types=types) == 0
    assert f"Erase {ADA}? The address and 1 key are gone for good" in person.asked
    # The question is not in what a program reads.
    assert json.loads(person.printed)["state"] == "erased"


def test_yes_on_the_command_line_is_not_asked(operator: Server, person: Person) -> None:
    for command in (["prune", "--older-than", "1d", "--yes"], ["erase", ADA, "--yes"]):
        assert person.runs(*command) == 0
        assert "[y/N]" not in person.asked


def test_revoking_and_disabling_ask_nobody(operator: Server, person: Person) -> None:
    [key] = json.loads(operator.auth("list", "--json").stdout)["keys"]
    for command in (["disable", ADA], ["enable", ADA], ["revoke", key["key_id"]]):
        assert person.runs(*command) == 0
        assert "[y/N]" not in person.asked


def test_without_a_terminal_erase_wants_yes_and_prune_goes_on(operator: Server) -> None:
    refused = operator.auth("erase", ADA)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--yes" in refused.stderr
    assert json.loads(operator.auth("show", ADA, "--json").stdout)["state"] == "live"
    # A job at night calls it so.
    assert operator.auth("prune", "--older-than", "1d").returncode == 0
    assert rows_left(operator) == 1


def test_a_dry_run_tells_and_deletes_nothing(operator: Server, person: Person) -> None:
    told = json.loads(operator.auth("prune", "--older-than", "1d", "--dry-run", "--json").stdout)
    assert told["would_delete"] == 2
    assert person.runs("prune", "--older-than", "1d", "--dry-run") == 0
    assert "[y/N]" not in person.asked
    assert "2 rows of the usage log are older than" in person.printed
    assert json.loads(operator.auth("prune", "--older-than", "30d", "--dry-run", "--json").stdout)["would_delete"] == 0
    assert rows_left(operator) == 3
    entries = json.loads(operator.auth("audit", "--json").stdout)["entries"]
    assert [entry["action"] for entry in entries] == ["create"]


def test_a_dry_run_counts_across_gaps_and_pages(operator: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted rows leave gaps in the ids; a page may be all gap."""
    monkeypatch.setattr("storage.usage.COUNTED_AT_ONCE", 2)
    with RawSql(operator.environment["CLASSIFIER_DATABASE_URL"]) as raw:
        for number in (10, 11, 30):
            raw.change(
                "INSERT INTO usage_log (id, request_id, user_id, key_id, endpoint, method, status, response_ms, at_us,"
                f" images) SELECT {number}, 'req_' || {number}, user_id, key_id, endpoint, method, status, response_ms,"
                " at_us, images FROM usage_log WHERE id = 1"
            )
    assert json.loads(operator.auth("prune", "--older-than", "1d", "--dry-run", "--json").stdout)["would_delete"] == 5


def test_a_terminal_gets_colours_and_a_pipe_gets_plain_columns(operator: Server, person: Person) -> None:
    operator.create_key("grace.brewster.murray.hopper@example.org")
    for command in (["list"], ["show", ADA], ["audit"]):
        assert person.runs(*command) == 0
        assert COLOUR.search(person.printed)
        piped = operator.auth(*command).stdout
        assert "\x1b" not in piped
        assert all(line == line.rstrip() for line in piped.splitlines())
        # The same words in the same order.
        assert COLOUR.sub("", person.printed).split() == piped.split()
    heading, *lines = operator.auth("list").stdout.splitlines()
    assert {line.index("live") for line in lines} == {heading.index("STATE")}


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_switched_off(operator: Server, environment: dict[str, str]) -> None:
    person = Person(operator, environment)
    assert person.runs("list") == 0
    assert not re.search(r"\x1b\[(3|4|9|10)[0-9]", person.printed)


@pytest.mark.parametrize("columns", ["80", "120", "200"])
def test_a_narrow_terminal_leaves_columns_out_and_breaks_no_line(operator: Server, columns: str) -> None:
    made = operator.create_key("grace.hopper@example.org", "--name", "laptop", "--limit", "5000/30d")
    person = Person(operator, {"COLUMNS": columns})
    assert person.runs("list") == 0
    [line] = [line for line in person.printed.splitlines() if made["key_id"] in line]
    assert "laptop  grace.hopper@example.org" in line
    assert "live" in line
    assert len(person.printed.splitlines()) == 3
    assert (made["user_id"] in line) == (columns == "200")
    # A pipe gets all.
    assert made["user_id"] in operator.auth("list").stdout


def test_a_reader_that_stops_early_leaves_no_traceback(operator: Server) -> None:
    with RawSql(operator.environment["CLASSIFIER_DATABASE_URL"]) as raw:
        # More than a pipe holds.
        raw.change(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
            " INSERT INTO audit_log (at_us, actor, action, detail) SELECT i, 'ada', 'prune', '{}' FROM n"
        )
    command = f"{sys.executable} -m auth audit --json | head -c 10"
    done = subprocess.run(
        ["bash", "-c", command], cwd=PROJECT, env=operator.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"entries"', "")


def test_each_command_has_help_that_names_what_it_takes(operator: Server) -> None:
    overall = operator.auth("--help").stdout
    names = re.findall(r"^    ([a-z-]+)  ", overall, re.MULTILINE)
    assert {"create", "list", "rename", "disable", "enable", "erase", "prune"} <= set(names)
    for name in names:
        assert operator.auth(name, "--help").stdout.startswith(f"usage: python -m auth {name}")
    for name in ("create", "rotate", "set-limit", "erase", "prune"):
        assert f"examples:\n  python -m auth {name} " in operator.auth(name, "--help").stdout
