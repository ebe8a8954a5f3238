"""The benchmarks of the database run: tried with few rows, since they are seldom run in full."""

import re
from pathlib import Path

import pytest

from benchmarks import migrations, usage_log
from benchmarks.filled_log import add_up, add_users, fill
from storage.database import Database
from testing.empty_databases import make_tables

ROWS = 1000


def test_migrations_of_a_long_log_are_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["migrations", "--rows", str(ROWS), "--database", "sqlite"])
    migrations.main()
    measured = re.findall(r"from (\d+): [\d.]+ s; of \d+ rows meanwhile", capsys.readouterr().out)
    assert measured == list(migrations.RELEASES)


def test_the_export_of_a_long_log_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/it.db"
    make_tables(url)
    database = Database(url)
    database.change(add_users)
    database.change(lambda connection: fill(connection, ROWS))
    database.change(add_up)
    database.close()
    usage_log.export(url, ROWS)
    assert len(re.findall(r"export as \w+ +[\d,]+ rows/s", capsys.readouterr().out)) == 3
