"""The commands of `python -m auth`, their arguments and their help."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auth import inputs
from auth.cli import commands, log_commands, plan_commands, user_commands, values
from auth.cli.answer import Answer
from auth.identity import SCOPES
from storage.rollup import WIDTHS_S

_DESCRIPTION = """Keys, users and plans of the API.

USER is a user's e-mail address, in upper or lower case, or its id. KEY_ID is the id of a key."""
_PROGRAM = "python -m auth"
_LIMIT: dict[str, Any] = {"type": values.limit, "metavar": "N/PERIOD"}
_TIME: dict[str, Any] = {"type": values.seconds, "metavar": "TIME"}
_KEY: dict[str, Any] = {"type": values.key_id, "metavar": "KEY_ID", "help": "the key's id, as 'list' shows it"}
_USER: dict[str, Any] = {"type": values.user, "metavar": "USER", "help": "the user's address or id"}
# Adds a command: its name, the function that runs it, what it does, and examples of its arguments.
_Add = Callable[..., argparse.ArgumentParser]
_QUOTA: dict[str, Any] = {"type": values.quota, "metavar": "N/PERIOD"}
_QUOTA_HELP = "images in a calendar month or day, UTC, such as 10000/month"
_PLAN: dict[str, Any] = {"type": values.plan, "metavar": "NAME", "help": "the plan's name"}
_LIMIT_HELP = "such as 60/minute, 60/90s, 500/12h or 5000/30d"


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
    parsed.pop("is_none", None)
    return parsed


def build() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
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
    _add_plan_commands(
        _adder(_group(commands_of, "plan", "Plans: limits, quotas and prices for many users."), shared, "plan ")
    )
    _add_log_commands(add)
    _add_database_commands(add)
    return parser


def _adder(commands_of: Any, shared: argparse.ArgumentParser, prefix: str = "") -> _Add:
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


def _add_key_commands(add: _Add) -> None:
    create = add(
        "create",
        commands.create,
        "Create a key, and its user if there is none; the key is printed once.",
        "--email ada@example.org --name laptop --limit 60/minute --limit 5000/30d",
        "--user usr_0123456789abcdef --scope metrics --expires-in 90d",
    )
    owner = create.add_mutually_exclusive_group(required=True)
    owner.add_argument("--email", dest="user", type=values.email, metavar="E", help="the user's address")
    owner.add_argument("--user", **_USER | {"help": "the address or the id of a user that exists"})
    create.add_argument("--name", type=values.name, help="what to call the key, such as laptop; default: no name")
    create.add_argument("--limit", action="append", help=f"{_LIMIT_HELP}; may be given again", **_LIMIT)
    create.add_argument("--quota", action="append", help=f"{_QUOTA_HELP}; may be given again", **_QUOTA)
    create.add_argument("--scope", action="append", choices=SCOPES, help="default: classify and usage")
    create.add_argument("--expires-in", help="such as 30d, 12h, 15m or 90s; default: never", **_TIME)
    listing = add("list", commands.list_keys, "List all keys, without their secrets.", "--user ada@example.org")
    listing.add_argument("--user", **_USER | {"help": "only the keys of this user"})
    show = add("show", commands.show, "Show one key without its secret, or a user with all keys.", "ada@example.org")
    show.add_argument("key_or_user", type=values.key_id, metavar="KEY_ID|USER", help="a key's id, or a user")
    rotate = add(
        "rotate",
        commands.rotate,
        "Replace a key by a new one with the same name and scopes; it is printed once.",
        "0AbcdEfgh1jk --grace 1h",
    )
    rotate.add_argument("key_id", **_KEY)
    rotate.add_argument("--grace", default=0, help="how long the old key still works; default: not at all", **_TIME)
    revoke = add("revoke", commands.revoke, "Revoke a key; when the command returns, no worker accepts it.")
    revoke.add_argument("key_id", **_KEY)


def _add_user_commands(add: _Add) -> None:
    def add_for_user(name: str, run: Callable[..., Answer], *texts: str) -> argparse.ArgumentParser:
        command = add(name, run, *texts)
        command.add_argument("user", **_USER)
        return command

    set_limit = add_for_user(
        "set-limit", user_commands.set_limit, "Replace the limits of a user.", "ada@example.org 60/minute 5000/30d"
    )
    set_limit.add_argument("limit", nargs="+", help=_LIMIT_HELP, **_LIMIT)
    set_quota = add_for_user(
        "set-quota",
        user_commands.set_quota,
        "Replace the quotas of a user; --none leaves those of the plan, if there is one.",
        "ada@example.org 10000/month 500/day",
    )
    _add_values(set_quota, "quota", _QUOTA_HELP, _QUOTA)
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


def _add_plan_commands(add: _Add) -> None:
    create = add(
        "create",
        plan_commands.create,
        "Create a plan.",
        "pro --limit 600/minute --quota 100000/month --price 1.50 --currency EUR",
    )
    create.add_argument("name", **_PLAN)
    create.add_argument("--limit", action="append", default=[], help=f"{_LIMIT_HELP}; may be given again", **_LIMIT)
    create.add_argument("--quota", action="append", default=[], help=f"{_QUOTA_HELP}; may be given again", **_QUOTA)
    _add_price(create, required=False)
    add("list", plan_commands.list_plans, "List all plans.")
    show = add("show", plan_commands.show, "Show a plan with all its prices.", "pro")
    show.add_argument("name", **_PLAN)
    set_price = add(
        "set-price",
        plan_commands.set_price,
        "Give a plan another price from a time on. What was logged keeps its price.",
        "pro --price 1.20 --currency EUR --from 2030-01-01",
    )
    set_price.add_argument("name", **_PLAN)
    _add_price(set_price, required=True)
    set_limit = add("set-limit", plan_commands.set_limit, "Replace the limits of a plan.", "pro 600/minute")
    set_limit.add_argument("name", **_PLAN)
    _add_values(set_limit, "limit", _LIMIT_HELP, _LIMIT)
    set_quota = add("set-quota", plan_commands.set_quota, "Replace the quotas of a plan.", "pro 200000/month")
    set_quota.add_argument("name", **_PLAN)
    _add_values(set_quota, "quota", _QUOTA_HELP, _QUOTA)
    assign = add(
        "assign",
        plan_commands.assign,
        "Give a user a plan. The user's own limits and quotas go before the plan's.",
        "ada@example.org pro --drop-own",
    )
    assign.add_argument("user", **_USER)
    assign.add_argument("name", **_PLAN)
    assign.add_argument("--drop-own", action="store_true", help="remove the user's own limits and quotas")
    unassign = add("unassign", plan_commands.unassign, "Take the plan from a user.", "ada@example.org")
    unassign.add_argument("user", **_USER)


def _add_price(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument("--price", required=required, type=values.price, metavar="P", help="of 1,000 images, as 1.50")
    command.add_argument(
        "--currency", required=required, type=values.currency, metavar="CUR", help="three letters, such as EUR"
    )
    command.add_argument("--from", dest="since", type=values.moment, metavar="WHEN", help="ISO 8601; default: now")


def _add_values(command: argparse.ArgumentParser, name: str, text: str, kind: dict[str, Any]) -> None:
    """Add one or several values, or `--none`."""
    command.add_argument(name, nargs="*", help=text, **kind)
    command.add_argument("--none", dest="is_none", action="store_true", help=f"remove each {name}")


def _add_log_commands(add: _Add) -> None:
    add("audit", log_commands.audit, "List all changes of users and keys: when, by whom, and what.")
    prune = add(
        "prune",
        log_commands.prune,
        "Delete old rows of the usage log; the totals still include them.",
        "--older-than 400d --dry-run",
    )
    prune.add_argument("--older-than", required=True, help="such as 400d", **_TIME)
    prune.add_argument("--dry-run", action="store_true", help="only tell how many rows would be deleted")
    prune.add_argument("--yes", action="store_true", help="do not ask on a terminal; elsewhere nobody is asked")


def _add_database_commands(add: _Add) -> None:
    backup = add("backup", commands.backup, "Copy an SQLite database to a new file, also while the service runs.")
    backup.add_argument("file", type=Path, metavar="FILE", help="the new file; it must not exist yet")
    add("migrate", commands.report_migrated, "Migrate the database to this version's tables, once for all replicas.")
    add("init", commands.init, "Create the tables, and a first user with a key if there is no user yet.")
