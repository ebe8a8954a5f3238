"""A start looks at its database: newest tables need no preparation, anything else is left to others."""

import sqlite3
from contextlib import closing
from pathlib import Path

from storage.first_look import has_user, newest_version
from storage.migrate import migrate
from testing.servers import Server


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_a_database_with_the_newest_tables_is_asked_for_a_user(tmp_path: Path) -> None:
    path = tmp_path / "a b%#.db"
    url = f"sqlite:///{tmp_path}/a b%25%23.db"
    assert has_user(url) is None
    assert not path.exists(), "to look makes no file"
    migrate(url)
    assert path.exists()
    assert has_user(url) is False
    operator = Server(tmp_path / "it", tmp_path, CLASSIFIER_DATABASE_URL=url)
    operator.create_key("ada@example.org")
    assert has_user(url) is True
    before = path.read_bytes()
    assert has_user(url) is True
    assert path.read_bytes() == before

    change(path, "UPDATE alembic_version SET version_num = '0001'")
    assert has_user(url) is None, "an older version is to be migrated"
    change(path, f"UPDATE alembic_version SET version_num = '{newest_version()}'")
    assert has_user(url) is True
    change(path, "DROP TABLE users")
    assert has_user(url) is None


def test_what_is_no_database_or_is_a_server_is_left_to_what_prepares(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but long enough to look like one " * 100)
    (tmp_path / "folder.db").mkdir()
    for name in ("text.db", "folder.db", "none/none.db"):
        assert has_user(f"sqlite:///{tmp_path}/{name}") is None
    assert has_user("postgresql://nobody@127.0.0.1:9/nothing") is None
