"""The operator's commands for keys and users.

With `--json` a command prints one JSON document on standard output, and nothing else there. Exit status: 0 done,
1 refused (the reason on standard error), 2 bad arguments.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from auth.identity import DEFAULT_SCOPES, SCOPES
from auth.keys import ApiKey
from configs.settings import SettingsError, load_settings
from storage import keys
from storage.database import Database
from storage.errors import StorageError, StorageUnavailable
from storage.keys import KeyRecord, NewKey
from storage.migrate import migrate
from storage.policy import UNITS, Limit, parse_limits
from storage.store import KEY_MEMORY_S, unix_us

FIRST_USER = "first-user@localhost"
FIRST_LIMIT = (Limit(60, 60),)
DURATION_UNITS = {"s": 1, "m": UNITS["minute"], "h": UNITS["hour"], "d": UNITS["day"]}

Document = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        settings = load_settings()
        migrate(settings.database_url)
        database = Database(settings.database_url)
        try:
            document, text = parsed.command(database, parsed)
        finally:
            database.close()
    except StorageUnavailable:
        return _refuse("The database can't be reached; check CLASSIFIER_DATABASE_URL.")
    except (StorageError, SettingsError) as error:
        return _refuse(str(error))
    print(json.dumps(document) if parsed.json else text)
    return 0


def _refuse(why: str) -> int:
    print(f"ERROR: {why}", file=sys.stderr)
    return 1


def _create(database: Database, parsed: argparse.Namespace) -> tuple[Document, str]:
    limits = tuple(parsed.limit) if parsed.limit else None
    scopes = frozenset(parsed.scope) if parsed.scope else DEFAULT_SCOPES
    key, new = _new_key(parsed.email, limits, scopes, parsed.expires_in)
    document = _revealed(key, database.change(lambda connection: keys.issue(connection, new)))
    return document, _shown_once(document)


def _init(database: Database, _parsed: argparse.Namespace) -> tuple[Document, str]:
    key, new = _new_key(FIRST_USER, FIRST_LIMIT, DEFAULT_SCOPES, None)
    record = database.change(lambda connection: keys.issue_first(connection, new))
    if record is None:
        return {}, "The database is ready; its users and keys are kept."
    document = _revealed(key, record)
    return document, _shown_once(document)


def _new_key(
    email: str, limits: tuple[Limit, ...] | None, scopes: frozenset[str], expires_in_s: int | None
) -> tuple[ApiKey, NewKey]:
    now_us = unix_us()
    expires_us = now_us + expires_in_s * 1_000_000 if expires_in_s else None
    default = parse_limits(load_settings().default_limit)
    key = ApiKey.generate()
    return key, NewKey(email, limits, default, key.key_id, key.secret_sha256(), scopes, now_us, expires_us)


def _revealed(key: ApiKey, record: KeyRecord) -> Document:
    return {
        "user_id": record.user_id,
        "key_id": record.key_id,
        "key": key.reveal(),
        "limits": [str(limit) for limit in record.limits],
        "scopes": sorted(record.scopes),
        "expires_at": _iso(record.expires_us),
    }


def _shown_once(document: Document) -> str:
    return "\n".join(
        [
            f"API key    {document['key']}",
            "           Keep it now: it is shown this once, and never again.",
            f"key id     {document['key_id']}",
            f"user id    {document['user_id']}",
            f"limits     {', '.join(document['limits'])}",
            f"scopes     {', '.join(document['scopes'])}",
            f"expires    {document['expires_at'] or 'never'}",
        ]
    )


def _list(database: Database, _parsed: argparse.Namespace) -> tuple[Document, str]:
    records = database.ask(keys.every)
    document = {"keys": [_described(record) for record in records]}
    rows = [("KEY ID", "EMAIL", "USER ID", "STATE", "LIMITS", "SCOPES", "EXPIRES")]
    for key in document["keys"]:
        limits, scopes = ",".join(key["limits"]), ",".join(key["scopes"])
        row = (key["key_id"], key["email"], key["user_id"], key["state"], limits, scopes, key["expires_at"] or "never")
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return document, "\n".join(lines)


def _revoke(database: Database, parsed: argparse.Namespace) -> tuple[Document, str]:
    record = database.change(lambda connection: keys.revoke(connection, parsed.key_id, unix_us()))
    # Workers remember a key for this long: when the command returns, none of them takes it any more.
    time.sleep(KEY_MEMORY_S)
    return _described(record), f"The key {record.key_id} of {record.email} is revoked, and refused everywhere."


def _described(record: KeyRecord) -> Document:
    return {
        "key_id": record.key_id,
        "user_id": record.user_id,
        "email": record.email,
        "state": _state(record),
        "limits": [str(limit) for limit in record.limits],
        "scopes": sorted(record.scopes),
        "created_at": _iso(record.created_us),
        "expires_at": _iso(record.expires_us),
        "revoked_at": _iso(record.revoked_us),
    }


def _state(record: KeyRecord) -> str:
    if record.revoked_us is not None:
        return "revoked"
    return "live" if record.is_live(unix_us()) else "expired"


def _iso(unix_microseconds: int | None) -> str | None:
    if unix_microseconds is None:
        return None
    return datetime.fromtimestamp(unix_microseconds / 1_000_000, UTC).isoformat(timespec="seconds")


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON document")
    parser = argparse.ArgumentParser(prog="python -m auth", description="Keys and users of the API.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, does: Callable[..., tuple[Document, str]], about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about, parents=[shared])
        command.set_defaults(command=does)
        return command

    create = add("create", _create, "Create a key, and its user where there is none yet; the key is printed once.")
    create.add_argument("--email", required=True, type=_email, metavar="E", help="the user's address")
    create.add_argument(
        "--limit", action="append", type=_checked(Limit.parse), metavar="N/PERIOD", help="such as 60/minute or 60/90s"
    )
    create.add_argument("--scope", action="append", choices=SCOPES, help="default: classify and usage")
    create.add_argument("--expires-in", type=_checked(_seconds), metavar="TIME", help="such as 30d, 12h, 15m or 90s")
    add("list", _list, "List every key, without its secret.")
    revoke = add("revoke", _revoke, "Revoke a key; it is refused everywhere when the command returns.")
    revoke.add_argument("key_id", metavar="KEY_ID", help="the key's id, as 'list' shows it")
    add("init", _init, "Create the tables, and a first user with a key where there is no user yet.")
    return parser


def _checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Have argparse print what the parser says of a wrong value."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _email(text: str) -> str:
    if len(text) > 320 or not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise argparse.ArgumentTypeError("give an address like ada@example.org")
    return text


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text)
    if match is None:
        raise ValueError("write a time like 30d, 12h, 15m or 90s")
    return int(match[1]) * DURATION_UNITS[match[2]]
