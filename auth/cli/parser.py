"""The commands of `python -m auth`, their arguments and their help."""

import argparse
from collections.abc import Callable
from functools import cache
from typing import Any

from auth import inputs
from auth.cli import (
    billing_commands,
    commands,
    completion,
    database_parser,
    export,
    log_commands,
    meter_parser,
    plan_parser,
    user_commands,
    values,
    webhook_parser,
)
from auth.cli.answer import Answer
from auth.cli.arguments import KEY, LIMIT, LIMIT_HELP, QUOTA, QUOTA_HELP, TIME, USER, Add, Parser, add_values
from auth.identity import SCOPES
from storage.rollup import WIDTHS_S

_DESCRIPTION = """Keys, users and plans of the API.

USER is a user's e-mail address, in upper or lower case, or its id. KEY_ID is the id of a key."""
_PROGRAM = "python -m auth"


def parse(arguments: list[str] | None) -> dict[str, Any]:
    """Parse the command line.

    Args:
        arguments: the arguments; None for those of the process.

    Returns:
        The function to run as `command`, whether to print JSON as `json`, and the arguments of the function.

    Raises:
        SystemExit: status 2, the arguments are wrong; 0, help was printed.
    """
    parser = build()
    parsed = vars(parser.parse_args(arguments))
    wrong = inputs.given_twice(parsed.get("limit") or []) or values.wrong_together(parsed)
    if wrong is not None:
        parser.error(wrong)
    if parsed["json"] and "format" in parsed and parsed["output"] is None:
        parser.error("--json prints one document, so the rows need a place of their own; add --output FILE")
    parsed.pop("is_none", None)
    return parsed


@cache
def build(program: str = _PROGRAM) -> Parser:
    """Return the parser of all commands; `program` is what runs it. Tests use it thousands of times: it is kept."""
    parser = Parser(
        prog=program,
        description=_DESCRIPTION,
        epilog=_examples(["create --email ada@example.org", "list --user ada@example.org", "disable ada@example.org"]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON document")
    commands_of = parser.add_subparsers(required=True, metavar="COMMAND")
    add = _adder(commands_of, shared)
    _add_key_commands(add)
    _add_user_commands(add)
    plans = _group(commands_of, "plan", "Plans: limits, quotas and prices that users have in common.")
    plan_parser.add_commands(_adder(plans, shared, "plan "))
    _add_log_commands(add)
    _add_billing_commands(add)
    meter_parser.add_customer(add)
    meters = _group(commands_of, "meter", "Tell others what was used, so that they bill it.")
    meter_parser.add_commands(_adder(meters, shared, "meter "))
    database_parser.add_commands(add)
    webhook_parser.add_command(add)
    completing = add(
        "completion",
        completion.script,
        "Print a script with which a shell completes these commands, under the name classifier-auth.",
        "bash",
    )
    completing.add_argument("shell", choices=completion.SHELLS, help="bash, zsh or fish")
    return parser


def _adder(commands_of: Any, shared: argparse.ArgumentParser, prefix: str = "") -> Add:
    """Return a function that adds a command to others.

    Args:
        commands_of: the other commands.
        shared: the arguments that all commands have.
        prefix: what is written before the name of the command.
    """

    def add(name: str, run: Callable[..., Answer], description: str, *examples: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands_of.add_parser(
            name,
            help=description,
            description=description,
            epilog=_examples([f"{prefix}{name} {example}" for example in examples]),
            parents=[shared],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(command=run)
        return command

    return add


def _group(commands_of: Any, name: str, description: str) -> Any:
    """Add a name before other commands, and return those."""
    group = commands_of.add_parser(name, help=description, description=description)
    return group.add_subparsers(required=True, metavar="COMMAND")


def _examples(examples: list[str]) -> str | None:
    if not examples:
        return None
    return "\n  ".join(["examples:", *(f"{_PROGRAM} {example}" for example in examples)])


def _add_key_commands(add: Add) -> None:
    create = add(
        "create",
        commands.create,
        "Create a key, and its user if there is none; the key is printed once.",
        "--email ada@example.org --name laptop --limit 60/minute 5000/30d",
        "--user usr_0123456789abcdef --scope metrics --expires-in 90d",
    )
    owner = create.add_mutually_exclusive_group(required=True)
    owner.add_argument("--email", dest="user", type=values.email, metavar="E", help="the user's address")
    owner.add_argument("--user", **USER | {"help": "the address or the id of a user that exists"})
    create.add_argument("--name", type=values.name, help="what to call the key, such as laptop; default: no name")
    create.add_argument("--limit", action="extend", nargs="+", help=f"{LIMIT_HELP}; one or several", **LIMIT)
    create.add_argument("--quota", action="extend", nargs="+", help=f"{QUOTA_HELP}; one or several", **QUOTA)
    scopes = f"one or several of {', '.join(SCOPES)}; default: classify and usage"
    create.add_argument("--scope", action="extend", nargs="+", choices=SCOPES, metavar="SCOPE", help=scopes)
    create.add_argument("--expires-in", help="such as 30d, 12h, 15m or 90s; default: never", **TIME)
    listing = add("list", commands.list_keys, "List all keys, without their secrets.", "--user ada@example.org")
    listing.add_argument("--user", **USER | {"help": "only the keys of this user"})
    show = add("show", commands.show, "Show one key without its secret, or a user with all keys.", "ada@example.org")
    show.add_argument("key_or_user", type=values.key_id, metavar="KEY_ID|USER", help="a key's id, or a user")
    rotate = add(
        "rotate",
        commands.rotate,
        "Replace a key by a new one with the same name and scopes; it is printed once.",
        "0AbcdEfgh1jk --grace 1h",
    )
    rotate.add_argument("key_id", **KEY)
    rotate.add_argument("--grace", default=0, help="how long the old key still works; default: not at all", **TIME)
    revoke = add("revoke", commands.revoke, "Revoke a key; when the command returns, no worker accepts it.")
    revoke.add_argument("key_id", **KEY)


def _add_user_commands(add: Add) -> None:
    def add_for_user(name: str, run: Callable[..., Answer], *texts: str) -> argparse.ArgumentParser:
        command = add(name, run, *texts)
        command.add_argument("user", **USER)
        return command

    set_limit = add_for_user(
        "set-limit", user_commands.set_limit, "Replace the limits of a user.", "ada@example.org 60/minute 5000/30d"
    )
    set_limit.add_argument("limit", nargs="+", help=LIMIT_HELP, **LIMIT)
    set_quota = add_for_user(
        "set-quota",
        user_commands.set_quota,
        "Replace the quotas of a user; --none leaves those of the plan, if there is one.",
        "ada@example.org 10000/month 500/day",
    )
    add_values(set_quota, "quota", QUOTA_HELP, QUOTA)
    usage = add_for_user(
        "usage",
        user_commands.usage,
        "Show what a user has used, in total and in buckets of time.",
        "ada@example.org --from 2026-11-01 --bucket hour",
    )
    usage.add_argument("--from", dest="since", type=values.moment, metavar="WHEN", help="ISO 8601, such as 2026-11-01")
    usage.add_argument("--to", dest="until", type=values.moment, metavar="WHEN", help="ISO 8601; default: now")
    usage.add_argument("--bucket", choices=tuple(WIDTHS_S), default="day", help="default: day")
    rename = add_for_user(
        "rename",
        user_commands.rename,
        "Give a user another address; keys, limits and usage stay.",
        "ada@example.org ada.lovelace@example.org",
    )
    rename.add_argument("email", type=values.email, metavar="E", help="the new address")
    add_for_user(
        "disable",
        user_commands.disable,
        "Refuse all keys of a user until 'enable'; when the command returns, no worker accepts one.",
    )
    add_for_user("enable", user_commands.enable, "Accept the keys of a disabled user again.")
    erase = add_for_user(
        "erase",
        user_commands.erase,
        "Remove a user's address and keys for good; the usage stays under the user's id.",
        "ada@example.org --yes",
    )
    erase.add_argument("--yes", action="store_true", help="do not ask; needed without a terminal")


def _add_log_commands(add: Add) -> None:
    add("audit", log_commands.audit, "List all changes of users, keys and plans: when, by whom, and what.")
    prune = add(
        "prune",
        log_commands.prune,
        "Delete old rows of the usage log, and their sums by the minute; the sums by hour and day stay.",
        "--older-than 400d --dry-run",
    )
    prune.add_argument("--older-than", required=True, help="such as 400d", **TIME)
    prune.add_argument("--dry-run", action="store_true", help="only tell how many rows would be deleted")
    prune.add_argument("--yes", action="store_true", help="do not ask on a terminal; elsewhere nobody is asked")


def _add_billing_commands(add: Add) -> None:
    exporting = add(
        "export",
        billing_commands.export,
        "Write the rows of the usage log: as CSV, as JSON lines, or as events of CloudEvents 1.0, one a line.",
        "--from 2026-11-01 --to 2026-12-01 --format jsonl",
    )
    exporting.add_argument("--from", dest="since", type=values.moment, metavar="WHEN", help="ISO 8601; default: all")
    exporting.add_argument("--to", dest="until", type=values.moment, metavar="WHEN", help="ISO 8601; default: now")
    exporting.add_argument("--format", choices=tuple(export.WRITERS), default="csv", help="default: csv")
    exporting.add_argument("--user", **USER | {"help": "only the requests of this user"})
    exporting.add_argument(
        "--output", type=values.file_or_stdout, metavar="FILE", help="a new file; default, and -: standard output"
    )
    add(
        "reconcile",
        billing_commands.reconcile,
        "Check that the usage log, its roll-up, the count for quotas and what was sent agree, or name a difference.",
    )
