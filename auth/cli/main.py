"""Parses the arguments of `python -m auth`, runs the command, and prints its answer.

With `--json` a command prints one JSON document to standard output, and nothing else. Exit status: 0 for success, 1 if
the command failed (the reason is on standard error), 2 for wrong arguments.
"""

import json
import sys
from contextlib import suppress
from functools import partial

from auth.api_key import without_keys
from auth.cli import (
    billing_commands,
    commands,
    completion,
    database_commands,
    log_commands,
    meter_commands,
    parser,
    restore_commands,
    table,
)
from auth.cli.answer import Answer, Context
from auth.cli.chosen_database import ChosenDatabase, chosen_database
from configs.settings import SettingsError, load_settings
from storage import jobs, urls
from storage.clock import unix_us
from storage.database import Database
from storage.errors import Refused, StorageError
from storage.migrate import migrate
from storage.policy import parse_limits

# The commands that create the database if there is none. Any other command would work on an empty one by mistake.
CREATE_DATABASE = (commands.create, commands.init, database_commands.report_migrated)
# The commands that prepare a database for the next server: a server that runs with another one does not matter.
BEFORE_A_START = (commands.init, database_commands.report_migrated)
# The command that opens the database itself, which may be lost or damaged.
RESTORE = restore_commands.restore
# The commands that run by themselves, and whose last success is noted; see `storage.jobs`.
JOBS = {
    database_commands.backup: "backup",
    meter_commands.stripe: "meter",
    log_commands.prune: "prune",
    billing_commands.reconcile: "reconcile",
}
_FIND_DATABASE = "set CLASSIFIER_DATABASE_URL as for the server, or run this while the server runs."


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command line arguments; None for those of the process.

    Returns:
        The exit status.

    Raises:
        SystemExit: status 2, the arguments are wrong.
    """
    parsed = parser.parse(arguments)
    command, as_json = parsed.pop("command"), parsed.pop("json")
    if sys.stdout is None:
        _say("ERROR: Standard output is closed, so nobody could read the answer; send it to a file or to /dev/null.")
        return 1
    if command is completion.script:
        text = completion.script(parser.build(completion.NAME), parsed["shell"])
        return _tell(Answer({"script": text}, text), as_json)
    try:
        settings = load_settings()
        is_own = command in BEFORE_A_START
        chosen = ChosenDatabase(settings.database_url, False) if is_own else chosen_database(settings)
        if command not in (*CREATE_DATABASE, RESTORE) and urls.is_missing_file(chosen.url):
            raise Refused(f"There is no database at {urls.shown(chosen.url)}; {_FIND_DATABASE}")
        if command is not RESTORE:
            migrate(chosen.url)
        database = Database(chosen.url)
        try:
            answer: Answer = command(Context(database, parse_limits(settings.default_limit), settings), **parsed)
            if command in JOBS and not parsed.get("dry_run"):
                _note_success(database, JOBS[command])
        finally:
            database.close()
    except (StorageError, SettingsError) as error:
        _say(f"ERROR: {without_keys(str(error))}")
        return 1
    status = _tell(answer, as_json)
    if not as_json or chosen.is_servers:
        _say(f"(Database: {chosen})")
    return status


def _note_success(database: Database, job: str) -> None:
    """Note that a job has succeeded. Where that can't be written, as on a read-only replica, only say so."""
    try:
        database.change(partial(jobs.note_success, command=job, at_us=unix_us()))
    except StorageError as error:
        _say(f"The success was not noted: {error}")


def _tell(answer: Answer, as_json: bool) -> int:
    """Print the answer of a command, and return the exit status."""
    try:
        if as_json:
            print(json.dumps(answer.document))
        else:
            _print(answer)
        sys.stdout.flush()
    except OSError as error:
        # Python would fail to flush again as it ends.
        sys.stdout = None
        _say(f"ERROR: The command is done, but its answer can't be written: {error.strerror}.")
        return 1
    return 0


def _say(text: str) -> None:
    # Where nobody can be told, the command is done all the same.
    with suppress(OSError):
        print(text, file=sys.stderr)


def _print(answer: Answer) -> None:
    if answer.is_notice and answer.text is not None:
        _say(answer.text)
    elif answer.text is not None:
        print(answer.text)
    for number, one in enumerate(answer.tables):
        if number > 0:
            print()
        table.write(one)
