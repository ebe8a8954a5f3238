"""A restored backup revives nothing that was revoked since: with the database at hand, with a list, with neither."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testing.servers import PROJECT, Server
from testing.store_servers import Postgres
from tests.auth_commands import operator, told
from tests.raw_sql import RawSql

__all__ = ["operator"]


def refused(operator: Server, *arguments: str) -> str:
    done = operator.auth(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    return done.stderr


def states(operator: Server) -> dict[str, str]:
    return {key["key_id"]: key["state"] for key in told(operator, "list")["keys"]}


class Story:
    """Keys of which some have ended since a backup: revoked, rotated, of a disabled and of an erased user."""

    def __init__(self, operator: Server, backup: Path) -> None:
        made = [operator.create_key(f"{name}@example.org") for name in ("live", "off", "gone", "on")]
        live, off, gone, on = (key["key_id"] for key in made)
        revoked, rotated, graced = (operator.create_key("live@example.org")["key_id"] for _ in range(3))
        told(operator, "disable", "on@example.org")
        told(operator, "backup", str(backup))
        told(operator, "enable", "on@example.org")
        told(operator, "revoke", revoked)
        self.successor = told(operator, "rotate", rotated)["key_id"]
        self.heir = told(operator, "rotate", graced, "--grace", "1h")["key_id"]
        told(operator, "disable", "off@example.org")
        told(operator, "erase", "gone@example.org", "--yes")
        self.live, self.graced, self.gone, self.backup = live, graced, made[2], backup
        self.ended = {
            live: "live",
            off: "disabled",
            gone: "revoked",
            # In the backup it was so.
            on: "disabled",
            revoked: "revoked",
            rotated: "revoked",
            graced: "live",
        }

    def assert_restored(self, operator: Server) -> None:
        assert states(operator) == self.ended
        assert told(operator, "show", self.graced)["expires_at"] is not None
        assert told(operator, "show", self.graced)["replaced_by"] == self.heir
        assert told(operator, "show", self.gone["user_id"])["state"] == "erased"
        assert "gone@example.org" not in json.dumps(told(operator, "audit"))
        with RawSql(operator.environment["CLASSIFIER_DATABASE_URL"]) as raw:
            raw.assert_refused("UPDATE audit_log SET actor = ''", "audit_log")


@pytest.fixture(scope="module")
def told_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Story, Path]:
    """A story and its database, made once: each revocation takes half a second."""
    folder = tmp_path_factory.mktemp("story")
    operator = Server(folder / "it", folder)
    return Story(operator, folder / "backup.db"), database(operator)


@pytest.fixture
def story(told_once: tuple[Story, Path], operator: Server) -> Story:
    story, file = told_once
    shutil.copy(file, database(operator))
    return story


def database(operator: Server) -> Path:
    return operator.folder / "classifier.db"


def test_what_the_current_database_knows_to_have_ended_stays_so(operator: Server, story: Story) -> None:
    before = states(operator)
    restored = told(operator, "restore", str(story.backup))
    story.assert_restored(operator)
    # gone's key is ended with its user.
    assert (restored["keys"], restored["users"]) == (3, 2)
    assert told(operator, "audit")["entries"][-1]["action"] == "restore"
    # The database that was there is kept, and can be put back.
    kept = Path(restored["kept_as"])
    assert kept.parent == operator.folder
    assert database(operator).stat().st_mode & 0o777 == 0o600
    assert not (operator.folder / "classifier.db.restoring").exists()
    operator.environment["CLASSIFIER_DATABASE_URL"] = f"sqlite:///{kept}"
    assert states(operator) == before


@pytest.mark.parametrize("damage", ["lost", "damaged", "begun anew"])
def test_a_list_tells_it_if_the_database_does_not(operator: Server, story: Story, tmp_path: Path, damage: str) -> None:
    listed = tmp_path / "revocations.json"
    written = told(operator, "revocations", str(listed))
    assert (written["keys"], written["users"]) == (4, 2)
    assert listed.stat().st_mode & 0o777 == 0o600
    assert "@" not in listed.read_text()
    for path in operator.folder.glob("classifier.db*"):
        path.unlink()
    if damage == "damaged":
        database(operator).write_bytes(b"nothing" * 1000)
    elif damage == "begun anew":
        told(operator, "init")
        # A nightly job does not replace the list by one that knows nothing.
        assert "name another file" in refused(operator, "revocations", str(listed))
    said = refused(operator, "restore", str(story.backup))
    assert "--revocations FILE" in said
    assert "--revoke-all-keys" in said
    assert told(operator, "restore", str(story.backup), "--revocations", str(listed))["keys"] == 3
    story.assert_restored(operator)


def test_without_any_knowledge_the_operator_decides(operator: Server, story: Story) -> None:
    database(operator).unlink()
    done = operator.auth("restore", str(story.backup), "--keep-keys")
    assert done.returncode == 0, done.stderr
    assert "is not known, and is live again" in done.stdout
    assert set(states(operator).values()) == {"live", "disabled"}
    database(operator).unlink()
    assert told(operator, "restore", str(story.backup), "--revoke-all-keys")["keys"] == 7
    assert set(states(operator).values()) == {"revoked"}
    # Users and what they used are there: each needs a new key.
    operator.create_key("live@example.org")


def test_a_list_from_before_the_backup_is_no_help(operator: Server, tmp_path: Path) -> None:
    listed, backup = tmp_path / "revocations.json", tmp_path / "backup.db"
    made = operator.create_key("ada@example.org")
    told(operator, "revocations", str(listed))
    told(operator, "revoke", made["key_id"])
    told(operator, "backup", str(backup))
    assert told(operator, "revocations", str(tmp_path / "newer.json"))["keys"] == 1
    database(operator).unlink()
    assert "The list is from" in refused(operator, "restore", str(backup), "--revocations", str(listed))
    listed.write_text(listed.read_text()[:-5])
    assert "no whole list" in refused(operator, "restore", str(backup), "--revocations", str(listed))


def test_nothing_is_restored_under_a_server(operator: Server, story: Story) -> None:
    before = states(operator)
    with RawSql(operator.environment["CLASSIFIER_DATABASE_URL"]) as server:
        server.rows("SELECT 1 FROM users")
        assert "stop all servers" in refused(operator, "restore", str(story.backup))
    assert states(operator) == before


def test_only_backups_are_restored(operator: Server, tmp_path: Path, postgres: Postgres) -> None:
    operator.create_key("ada@example.org")
    other, text = tmp_path / "other.db", tmp_path / "text.db"
    text.write_text("no database" * 100)
    with RawSql(f"sqlite:///{other}") as raw:
        raw.change("CREATE TABLE users (id int)")
    assert "no SQLite database" in refused(operator, "restore", str(text))
    assert "no backup of this service" in refused(operator, "restore", str(other))
    assert "There is no file" in refused(operator, "restore", str(tmp_path / "nowhere"))
    assert list(states(operator).values()) == ["live"]
    operator.environment["CLASSIFIER_DATABASE_URL"] = postgres.new_database()
    assert "revoke-again" in refused(operator, "restore", str(other))


def test_a_path_that_can_not_be_looked_for_is_told_in_one_line(operator: Server) -> None:
    """A name that is too long: the user of the tests may enter every folder."""
    told(operator, "init")
    for command in ("restore", "revocations", "revoke-again", "backup"):
        assert "File name too long" in refused(operator, command, "long" * 100)
    operator.environment["CLASSIFIER_DATABASE_URL"] = f"sqlite:///{'long' * 100}"
    assert "File name too long" in refused(operator, "restore", __file__)


def test_a_disk_that_can_not_be_written_says_nothing_of_the_backup(
    operator: Server, story: Story, tmp_path: Path
) -> None:
    operator.environment["CLASSIFIER_DATABASE_URL"] = f"sqlite:///{tmp_path}/new.db"
    command = f"ulimit -f 0; {sys.executable} -m auth restore {story.backup} --keep-keys"
    done = subprocess.run(
        ["sh", "-c", command], cwd=PROJECT, env=operator.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ERROR: The database's disk can't be read or written; check the machine's log.\n"
    told(operator, "restore", str(story.backup), "--keep-keys")


def test_a_list_that_can_not_be_finished_leaves_nothing_behind(tmp_path: Path, postgres: Postgres) -> None:
    """PostgreSQL, since the files of SQLite would fall under the same limit of the system."""
    operator = Server(tmp_path / "it", tmp_path, CLASSIFIER_DATABASE_URL=postgres.new_database())
    operator.create_key("ada@example.org")
    lists = tmp_path / "lists"
    lists.mkdir()
    command = f"ulimit -f 0; {sys.executable} -m auth revocations {lists / 'list.json'}"
    done = subprocess.run(
        ["sh", "-c", command], cwd=PROJECT, env=operator.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "ERROR: The file can't be written: File too large.\n")
    assert list(lists.iterdir()) == []


def test_after_other_tools_a_list_is_applied(operator: Server, tmp_path: Path, postgres: Postgres) -> None:
    """On PostgreSQL, whose backups are restored by its own tools: here, a key is revived by hand."""
    operator.environment["CLASSIFIER_DATABASE_URL"] = url = postgres.new_database()
    listed = tmp_path / "revocations.json"
    made, other = operator.create_key("ada@example.org"), operator.create_key("bob@example.org")
    told(operator, "revoke", made["key_id"])
    told(operator, "disable", "bob@example.org")
    told(operator, "revocations", str(listed))
    with RawSql(url) as raw:
        raw.change("UPDATE api_keys SET revoked_us = NULL")
        raw.change("UPDATE users SET disabled_us = NULL")
    assert told(operator, "revoke-again", str(listed)) == {"keys": 1, "users": 1}
    assert told(operator, "revoke-again", str(listed)) == {"keys": 0, "users": 0}
    assert states(operator) == {made["key_id"]: "revoked", other["key_id"]: "disabled"}
    assert told(operator, "revoke-again", "--all-keys") == {"keys": 1, "users": 0}
    assert set(states(operator).values()) == {"revoked"}
    assert operator.auth("revoke-again").returncode == 2


KILLED_AT_A_STEP = """
import os, signal, sys
from auth.cli.main import main
when, step = sys.argv[1:3]
real = getattr(os, step)
def killed(*arguments):
    if when == "after":
        real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, step, killed)
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["link", "replace"])
def test_a_killed_restore_leaves_a_database_and_can_be_repeated(
    operator: Server, story: Story, when: str, step: str
) -> None:
    arguments = [when, step, "restore", str(story.backup)]
    command = [sys.executable, "-c", KILLED_AT_A_STEP, *arguments]
    killed = subprocess.run(command, cwd=PROJECT, env=operator.environment, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # What has ended is known, whether this is the database from before or the restored one.
    ended = {"disabled", "revoked"}
    assert {key for key, state in states(operator).items() if state in ended} >= {
        key for key, state in story.ended.items() if state in ended and state != "disabled"
    }
    told(operator, "restore", str(story.backup))
    story.assert_restored(operator)
    path = database(operator)
    kept = list(path.parent.glob(f"{path.name}.before-restore-*"))
    assert kept
    assert not any(one.samefile(path) for one in kept)
