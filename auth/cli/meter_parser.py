"""The commands of `python -m auth meter`, their arguments and their help."""

from auth.cli import meter_commands, values
from auth.cli.arguments import USER, Add


def add_commands(add: Add) -> None:
    """Add the commands.

    Args:
        add: adds one command.
    """
    stripe = add(
        "stripe",
        meter_commands.stripe,
        "Send the billable images of each hour that has ended to Stripe, as meter events; run it every hour.",
        "--dry-run",
    )
    stripe.add_argument("--dry-run", action="store_true", help="only show what would be sent")
    resolve = add(
        "resolve",
        meter_commands.resolve,
        "Say whether Stripe has counted events that were given up, so that 'reconcile' and the next run know.",
        "ada@example.org --counted",
        "usr_0123456789abcdef/2026-11-01T05Z/1 --not-counted",
    )
    resolve.add_argument("user", type=values.user_or_event, metavar="USER|IDENTIFIER", help="a user, or one event")
    known = resolve.add_mutually_exclusive_group(required=True)
    known.add_argument("--counted", dest="was_counted", action="store_true", help="Stripe shows them")
    known.add_argument("--not-counted", dest="was_counted", action="store_false", help="send them again")


def add_customer(add: Add) -> None:
    """Add the command that names a user's customer; see `add_commands`."""
    command = add(
        "set-customer",
        meter_commands.set_customer,
        "Name the customer that Stripe knows a user by; from then on 'meter stripe' sends the user's images.",
        "ada@example.org cus_NciAYcXfLnqBoz --from 2026-11-01",
    )
    command.add_argument("user", **USER)
    named = command.add_mutually_exclusive_group(required=True)
    named.add_argument(
        "customer", nargs="?", type=values.customer, metavar="CUSTOMER", help="such as cus_NciAYcXfLnqBoz"
    )
    named.add_argument("--none", dest="customer", action="store_const", const=None, help="send nothing any more")
    command.add_argument(
        "--from",
        dest="since",
        type=values.moment,
        metavar="WHEN",
        help="the first hour to send, such as 2026-11-01T09:00Z; default: as it was, or the next hour",
    )
