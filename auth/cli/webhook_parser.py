"""The command `python -m auth webhooks`, its arguments and its help."""

from auth.cli import webhook_commands
from auth.cli.arguments import Add


def add_command(add: Add) -> None:
    """Add the command.

    Args:
        add: adds one command.
    """
    command = add(
        "webhooks",
        webhook_commands.webhooks,
        "List the messages for your endpoint that are not delivered, waiting or failed; send them again, or a test.",
        "",
        "--retry",
        "test",
    )
    does = command.add_mutually_exclusive_group()
    does.add_argument("--retry", action="store_true", help="send all of them again now, also those that were given up")
    does.add_argument("action", nargs="?", choices=["test"], help="send a test message to CLASSIFIER_WEBHOOK_URL")
