"""`python -m auth move` refused: what is in its way is told in one line, and no password is."""

from typing import Any

import pytest

from storage.migrate import migrate
from storage.move import move as copy_all
from testing.servers import Server
from testing.store_servers import Postgres
from tests.full_database import contents, fill
from tests.moving import move, new, old, operator, refused
from tests.raw_sql import RawSql

__all__ = ["new", "old", "operator"]

SECRET = "p4ssw0rd"


def test_an_idle_server_must_be_stopped_too(operator: Server, old: str, new: str) -> None:
    fill(old, 10)
    with RawSql(old) as idle:
        idle.rows("SELECT 1 FROM users")
        assert "Stop all servers" in refused(operator, new)
    move(operator, new)


@pytest.mark.parametrize(("changes", "is_left_alone"), [(1, True), (2, False)])
def test_a_command_that_changed_something_meanwhile_is_noticed(
    operator: Server, old: str, new: str, changes: int, is_left_alone: bool
) -> None:
    """Not a server, which has the database open: somebody creates a user each time that the tables are compared."""
    fill(old, 10)
    seen: list[dict[str, Any]] = []

    def create_user(action: str, table: str, rows: int) -> None:
        if (action, table) == ("comparing", "users") and len(seen) < changes:
            seen.append(operator.create_key(f"meanwhile{len(seen)}@example.org"))

    assert copy_all(old, new, create_user).is_left_alone == is_left_alone
    assert len(seen) == changes
    assert (contents(old) == contents(new)) == is_left_alone
    move(operator, new)
    assert contents(old) == contents(new)


def test_a_database_with_other_data_is_left_as_it_is(operator: Server, old: str, new: str, postgres: Postgres) -> None:
    operator.create_key("ada@example.org")
    move(operator, new)
    operator.environment["CLASSIFIER_DATABASE_URL"] = new
    operator.create_key("bob@example.org")
    served = contents(new)
    operator.environment["CLASSIFIER_DATABASE_URL"] = old
    assert "holds other data" in refused(operator, new)
    assert contents(new) == served
    foreign = postgres.new_database()
    with RawSql(foreign) as raw:
        raw.change("CREATE TABLE users (id int)")
    assert "name an empty database" in refused(operator, foreign)
    later = postgres.new_database()
    migrate(later)
    with RawSql(later) as raw:
        raw.change("UPDATE alembic_version SET version_num = '9999'")
    assert "later version" in refused(operator, later)


def test_a_row_that_arrives_otherwise_is_noticed(operator: Server, old: str, new: str) -> None:
    """A trigger of the new database changes what is written."""
    fill(old, 10)
    migrate(new)
    with RawSql(new) as raw:
        raw.change(
            "CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.endpoint := NEW.endpoint || '.'; RETURN NEW; END $$"
        )
        raw.change("CREATE TRIGGER other BEFORE INSERT ON usage_log FOR EACH ROW EXECUTE FUNCTION other()")
    assert "The table usage_log differs after it was copied" in refused(operator, new)


def test_two_moves_do_not_meet(operator: Server, old: str, new: str) -> None:
    fill(old, 10)
    migrate(new)
    with RawSql(new) as other:
        other.change("SELECT pg_advisory_lock(7361005)")
        assert "Another move" in refused(operator, new)
    move(operator, new)


def test_a_password_is_never_told(operator: Server, new: str) -> None:
    operator.create_key("ada@example.org")
    with_password = new.replace("postgres:@", f"postgres:{SECRET}@")
    assert SECRET in with_password
    away = f"postgresql://ada:{SECRET}@127.0.0.1:1/it"
    for arguments, status, said in [
        (["--to", away], 1, "The new database can't be reached; check that it runs, and the URL to move to."),
        (["--to", f"postgresql://ada:{SECRET}@:x/it"], 2, "port"),
        (["--to", f"mysql://ada:{SECRET}@host/it"], 2, "postgresql://"),
        (["--to", f"sqlite:///{SECRET}"], 2, "postgresql://"),
        ([away], 2, "unrecognized"),
        ([], 1, "CLASSIFIER_MOVE_TO_URL"),
        (["--to", with_password], 0, "(Database:"),
    ]:
        done = operator.auth("move", *arguments)
        assert (done.returncode, SECRET in done.stdout + done.stderr) == (status, False), done.stderr
        assert said in done.stderr
    operator.environment["CLASSIFIER_MOVE_TO_URL"] = with_password
    done = operator.auth("move")
    assert (done.returncode, SECRET in done.stdout + done.stderr) == (0, False)
    assert "copying api_keys" in done.stderr
    assert "CLASSIFIER_DATABASE_URL" in done.stdout


def test_only_sqlite_is_moved(operator: Server, new: str, postgres: Postgres) -> None:
    operator.environment["CLASSIFIER_DATABASE_URL"] = postgres.new_database()
    operator.create_key("ada@example.org")
    assert "pg_dump" in refused(operator, new)
