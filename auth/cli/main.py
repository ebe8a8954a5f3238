"""Parses the arguments of `python -m auth`, runs the command, and prints its answer.

With `--json` a command prints one JSON document to standard output, and nothing else. Exit status: 0 for success, 1 if
the command failed (the reason is on standard error), 2 for wrong arguments.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from auth.api_key import PREFIX, ApiKey
from auth.cli import commands
from auth.cli.chosen_database import ChosenDatabase, chosen_database
from auth.cli.commands import Answer, Context
from auth.identity import SCOPES
from configs.settings import SettingsError, load_settings
from storage import urls
from storage.database import Database
from storage.errors import Refused, StorageError
from storage.migrate import migrate
from storage.policy import UNITS, Limit, parse_limits
from storage.rollup import WIDTHS_S

DURATION_UNITS = {"s": 1, "m": UNITS["minute"], "h": UNITS["hour"], "d": UNITS["day"]}
LONGEST_S = 36500 * UNITS["day"]

# The commands that create the database if there is none. Any other command would work on an empty one by mistake.
CREATE_DATABASE = (commands.create, commands.init, commands.report_migrated)
# The commands that prepare a database for the next server: a server that runs with another one does not matter.
BEFORE_A_START = (commands.init, commands.report_migrated)
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
    parsed = vars(_parser().parse_args(arguments))
    command, as_json = parsed.pop("command"), parsed.pop("json")
    try:
        settings = load_settings()
        is_own = command in BEFORE_A_START
        chosen = ChosenDatabase(settings.database_url, False) if is_own else chosen_database(settings)
        if command not in CREATE_DATABASE and urls.is_missing_file(chosen.url):
            raise Refused(f"There is no database at {urls.shown(chosen.url)}; {_FIND_DATABASE}")
        migrate(chosen.url)
        database = Database(chosen.url)
        try:
            answer: Answer = command(Context(database, parse_limits(settings.default_limit)), **parsed)
        finally:
            database.close()
    except (StorageError, SettingsError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer.document) if as_json else answer.text)
    if not as_json or chosen.is_servers:
        print(f"(Database: {chosen})", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON document")
    parser = argparse.ArgumentParser(prog="python -m auth", description="Keys and users of the API.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[..., Answer], description: str) -> argparse.ArgumentParser:
        command = subparsers.add_parser(name, help=description, description=description, parents=[shared])
        command.set_defaults(command=run)
        return command

    limit: dict[str, Any] = {"type": _checked(Limit.parse), "metavar": "N/PERIOD"}
    time: dict[str, Any] = {"type": _checked(_seconds), "metavar": "TIME"}
    key_id: dict[str, Any] = {"type": _key_id, "metavar": "KEY_ID", "help": "the key's id, as 'list' shows it"}
    user_id: dict[str, Any] = {"metavar": "USER_ID", "help": "the user's id, as 'list' shows it"}

    create = add("create", commands.create, "Create a key, and its user if there is none; the key is printed once.")
    create.add_argument("--email", required=True, type=_email, metavar="E", help="the user's address")
    create.add_argument("--limit", action="append", help="such as 60/minute or 60/90s; may be given again", **limit)
    create.add_argument("--scope", action="append", choices=SCOPES, help="default: classify and usage")
    create.add_argument("--expires-in", help="such as 30d, 12h, 15m or 90s; default: never", **time)
    add("list", commands.list_keys, "List all keys, without their secrets.")
    add("show", commands.show, "Show one key, without its secret.").add_argument("key_id", **key_id)
    rotate = add("rotate", commands.rotate, "Replace a key by a new one with the same scopes; it is printed once.")
    rotate.add_argument("key_id", **key_id)
    rotate.add_argument("--grace", default=0, help="how long the old key still works; default: not at all", **time)
    revoke = add("revoke", commands.revoke, "Revoke a key; when the command returns, no worker accepts it.")
    revoke.add_argument("key_id", **key_id)
    set_limit = add("set-limit", commands.set_limit, "Replace the limits of a user.")
    set_limit.add_argument("user_id", **user_id)
    set_limit.add_argument("limit", nargs="+", help="such as 60/minute or 60/90s", **limit)
    usage = add("usage", commands.usage, "Show what a user has used, in total and in buckets of time.")
    usage.add_argument("user_id", **user_id)
    usage.add_argument("--from", dest="since", type=_moment, metavar="WHEN", help="ISO 8601, such as 2026-11-01")
    usage.add_argument("--to", dest="until", type=_moment, metavar="WHEN", help="ISO 8601; default: now")
    usage.add_argument("--bucket", choices=tuple(WIDTHS_S), default="day", help="default: day")
    add("audit", commands.audit, "List all changes of users and keys: when, by whom, and what.")
    prune = add("prune", commands.prune, "Delete old rows of the usage log; the totals still include them.")
    prune.add_argument("--older-than", required=True, help="such as 400d", **time)
    backup = add("backup", commands.backup, "Copy an SQLite database to a new file, also while the service runs.")
    backup.add_argument("file", type=Path, metavar="FILE", help="the new file; it must not exist yet")
    add("migrate", commands.report_migrated, "Migrate the database to this version's tables, once for all replicas.")
    add("init", commands.init, "Create the tables, and a first user with a key if there is no user yet.")
    return parser


def _checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a parser whose errors argparse prints: it hides the text of a `ValueError`."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _key_id(text: str) -> str:
    """Return the key id. If the operator gives a whole key, return only its id, so that no error repeats the secret."""
    if not text.startswith(PREFIX):
        return text
    key = ApiKey.parse(text)
    if key is None:
        raise argparse.ArgumentTypeError("give a key's id, as 'list' shows it")
    return key.key_id


def _email(text: str) -> str:
    if len(text) > 320 or not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise argparse.ArgumentTypeError("give an address like ada@example.org")
    return text


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text)
    if match is None:
        raise ValueError("write a time like 30d, 12h, 15m or 90s")
    seconds = int(match[1]) * DURATION_UNITS[match[2]]
    if seconds > LONGEST_S:
        raise ValueError("write a time of at most 100 years, 36500d")
    return seconds


def _moment(text: str) -> int:
    """Return a time in ISO 8601 as Unix seconds; UTC if it names no zone."""
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError("write a moment like 2026-11-01 or 2026-11-01T12:00:00Z") from None
