"""A backup of keys and usage log is made while the service runs, and restored."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testing.callers import BODY
from testing.servers import PROJECT, Server
from testing.store_servers import Postgres
from testing.waiting import wait_until


def test_a_backup_under_load_is_whole_and_can_be_put_back(
    server: Server, new_user: Callable[..., dict[str, Any]], tmp_path: Path, model_store: Path
) -> None:
    copy = tmp_path / "backup.db"
    made = new_user("--limit", "1000000/day")
    over, answered = threading.Event(), []

    def ask() -> None:
        with server.client(made["key"]) as client:
            while not over.is_set():
                answered.append(client.post("/v1/classify", json=BODY).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(lambda: len(answered) >= 5, "some requests are answered")
    done = server.auth("backup", str(copy))
    over.set()
    asking.join()
    assert done.returncode == 0, done.stderr
    assert set(answered) == {200}
    assert copy.stat().st_mode & 0o777 == 0o600
    assert "name a new one" in server.auth("backup", str(copy)).stderr

    restored = Server(tmp_path / "second", model_store, CLASSIFIER_DATABASE_URL=f"sqlite:///{copy}")
    usage = json.loads(restored.auth("usage", made["user_id"], "--json").stdout)
    assert 5 <= usage["total"]["requests"] <= len(answered)
    assert json.loads(restored.auth("show", made["key_id"], "--json").stdout)["state"] == "live"
    assert made["key_id"] in restored.auth("audit").stdout


def test_a_backup_that_can_not_be_made_says_what_to_do(tmp_path: Path, model_store: Path, postgres: Postgres) -> None:
    server = Server(tmp_path / "it", model_store)
    server.auth("init")
    refused = server.auth("backup", str(tmp_path / "nowhere" / "backup.db"))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "can't be written" in refused.stderr
    server.environment["CLASSIFIER_DATABASE_URL"] = postgres.new_database()
    refused = server.auth("backup", str(tmp_path / "backup.db"))
    assert refused.returncode == 1
    assert "pg_dump" in refused.stderr
    assert not (tmp_path / "backup.db").exists()
    assert server.auth("migrate", "--json").stdout == '{"migrated": true}\n'


KILLED_AT_WORK = """
import os, signal, sqlite3, sys
from auth.cli.main import main
connect = sqlite3.connect
def connect_or_kill(name, *rest, **named):
    if str(name).endswith("?mode=ro"):
        os.kill(os.getpid(), signal.SIGKILL)
    return connect(name, *rest, **named)
sqlite3.connect = connect_or_kill
sys.exit(main(sys.argv[1:]))
"""


def test_a_backup_that_is_killed_has_no_name_and_can_be_made_again(tmp_path: Path, model_store: Path) -> None:
    """Nobody takes half of a backup for a whole one, and each night's job may use the name of the day."""
    server = Server(tmp_path / "it", model_store)
    server.auth("init")
    copy = tmp_path / "backup.db"
    command = [sys.executable, "-c", KILLED_AT_WORK, "backup", str(copy)]
    killed = subprocess.run(command, cwd=PROJECT, env=server.environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not copy.exists()
    again = server.auth("backup", str(copy))
    assert again.returncode == 0, again.stderr
