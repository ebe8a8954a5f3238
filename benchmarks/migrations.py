"""Measures how long it takes to migrate a usage log of ten million rows, and how long a writer waits meanwhile.

`python -m benchmarks.migrations [--rows 10000000] [--database sqlite|postgresql|both] [--from 0001 --from 0004]`. A
writer of that release adds a row again and again while the migration runs, as a replica does that was not replaced yet.
"""

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from benchmarks.filled_log import add_up, add_users, fill, settle
from storage.database import Database, create_sqlite_file
from storage.errors import StorageUnavailable
from storage.first_look import SCRIPTS
from storage.migrate import migrate
from testing.store_servers import Postgres

# Releases: the first one, whose rows are not added up yet, and one whose rows are.
RELEASES = ("0001", "0004")
# The first release with a roll-up.
HAS_ROLL_UP = "0002"
PAUSE_S = 0.02

_ROW = """
INSERT INTO usage_log (request_id, user_id, key_id, endpoint, method, status, response_ms, at_us, images)
VALUES (:request_id, 'usr_0', 'key', '/v1/classify', 'POST', 200, 9.0, 0, 1)"""


def upgrade_to(connection: Connection, release: str) -> None:
    """Give a database the tables of a release."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = connection
    command.upgrade(config, release)


@contextlib.contextmanager
def writer(url: str) -> Iterator[list[tuple[float, bool]]]:
    """Add rows in another thread within a block; returns how long each took, seconds, and whether it was refused."""
    took: list[tuple[float, bool]] = []
    ended = threading.Event()
    database = Database(url)

    def write(connection: Connection) -> None:
        connection.execute(text(_ROW), {"request_id": f"req_new{len(took)}"})

    def go_on() -> None:
        while not ended.wait(PAUSE_S):
            began = time.perf_counter()
            try:
                database.change(write)
                is_refused = False
            except StorageUnavailable:
                # The database stayed busy for too long. A request would be answered 503.
                is_refused = True
            took.append((time.perf_counter() - began, is_refused))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield took
    finally:
        ended.set()
        thread.join()
        database.close()


def measure(url: str, release: str, rows: int) -> None:
    """Print the times of one migration."""
    create_sqlite_file(url)
    database = Database(url)
    database.change(partial(upgrade_to, release=release))
    database.change(add_users)
    database.change(partial(fill, rows=rows))
    if release >= HAS_ROLL_UP:
        database.change(add_up)
    database.close()
    settle(url)
    with writer(url) as took:
        began = time.perf_counter()
        migrate(url)
        migrated_s = time.perf_counter() - began
    # A quick migration may be over before the first row.
    longest_s, refused = max(took, default=(0.0, False))[0], sum(is_refused for _, is_refused in took)
    told = f"of {len(took)} rows meanwhile, one waited for {longest_s:.2f} s at most, {refused} were refused"
    print(f"  from {release}: {migrated_s:.2f} s; {told}", flush=True)


def main() -> None:
    """Measure on the databases that `--database` names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--from", dest="releases", action="append", help=f"default: {', '.join(RELEASES)}")
    asked = parser.parse_args()
    releases = asked.releases or RELEASES
    if asked.database != "postgresql":
        print(f"SQLite, {asked.rows:,} rows", flush=True)
        for release in releases:
            with tempfile.TemporaryDirectory() as folder:
                measure(f"sqlite:///{Path(folder)}/it.db", release, asked.rows)
    if asked.database != "sqlite":
        print(f"PostgreSQL, {asked.rows:,} rows", flush=True)
        for release in releases:
            postgres = Postgres()
            try:
                measure(postgres.new_database(), release, asked.rows)
            finally:
                postgres.close()


if __name__ == "__main__":
    main()
