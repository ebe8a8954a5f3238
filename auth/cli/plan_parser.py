"""The commands of `python -m auth plan`, their arguments and their help."""

from argparse import ArgumentParser

from auth.cli import plan_commands, values
from auth.cli.arguments import LIMIT, LIMIT_HELP, PLAN, QUOTA, QUOTA_HELP, USER, Add, add_values


def add_commands(add: Add) -> None:
    """Add the commands.

    Args:
        add: adds one command.
    """
    create = add(
        "create",
        plan_commands.create,
        "Create a plan.",
        "pro --limit 600/minute --quota 100000/month --price 1.50 --currency EUR",
    )
    create.add_argument("name", **PLAN)
    create.add_argument("--limit", action="append", default=[], help=f"{LIMIT_HELP}; may be given again", **LIMIT)
    create.add_argument("--quota", action="append", default=[], help=f"{QUOTA_HELP}; may be given again", **QUOTA)
    _add_price(create, required=False)
    add("list", plan_commands.list_plans, "List all plans.")
    show = add("show", plan_commands.show, "Show a plan with all its prices.", "pro")
    show.add_argument("name", **PLAN)
    set_price = add(
        "set-price",
        plan_commands.set_price,
        "Give a plan another price from a time on. What was logged keeps its price.",
        "pro --price 1.20 --currency EUR --from 2030-01-01",
    )
    set_price.add_argument("name", **PLAN)
    _add_price(set_price, required=True)
    set_limit = add("set-limit", plan_commands.set_limit, "Replace the limits of a plan.", "pro 600/minute")
    set_limit.add_argument("name", **PLAN)
    add_values(set_limit, "limit", LIMIT_HELP, LIMIT)
    set_quota = add("set-quota", plan_commands.set_quota, "Replace the quotas of a plan.", "pro 200000/month")
    set_quota.add_argument("name", **PLAN)
    add_values(set_quota, "quota", QUOTA_HELP, QUOTA)
    assign = add(
        "assign",
        plan_commands.assign,
        "Give a user a plan. The user's own limits and quotas override the plan's.",
        "ada@example.org pro --drop-own",
    )
    assign.add_argument("user", **USER)
    assign.add_argument("name", **PLAN)
    assign.add_argument("--drop-own", action="store_true", help="remove the user's own limits and quotas")
    unassign = add("unassign", plan_commands.unassign, "Take the plan from a user.", "ada@example.org")
    unassign.add_argument("user", **USER)


def _add_price(command: ArgumentParser, *, required: bool) -> None:
    command.add_argument("--price", required=required, type=values.price, metavar="P", help="of 1,000 images, as 1.50")
    command.add_argument(
        "--currency", required=required, type=values.currency, metavar="CUR", help="three letters, such as EUR"
    )
    command.add_argument("--from", dest="since", type=values.moment, metavar="WHEN", help="ISO 8601; default: now")
