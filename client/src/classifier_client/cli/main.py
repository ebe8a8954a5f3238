"""Runs the command line: finds the command, and turns errors into one line and an exit status.

Exit status: 0 done, 1 refused or failed, 2 wrong arguments.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from classifier_client.cli import account, images, keys, usage, watch
from classifier_client.cli.messages import describe, say
from classifier_client.errors import ClassifierError

app = typer.Typer(
    name="classify",
    help="Classify images with your server: classify photo.jpg. Run classify login first, or set IMAGE_API_KEY.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("images", help="Classify image files and folders; the word 'images' may be left out.")(images.images)
app.command("usage", help="Show your usage as a table with a chart, and your limits.")(usage.usage)
app.add_typer(keys.app, name="keys")
app.command("login", help="Check a key and keep it, in the keyring or in a file of yours.")(account.login)
app.command("logout", help="Forget the key.")(account.logout)
app.command("watch", help="Classify the images on an MQTT topic, and publish their labels on another.")(watch.watch)

_COMMANDS = frozenset({"images", "usage", "keys", "login", "logout", "watch"})
# What is no file although it is no command.
_OPTIONS = frozenset({"--help", "--install-completion", "--show-completion"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default those of the process, and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] not in _COMMANDS | _OPTIONS:
        given.insert(0, "images")
    try:
        status = app(given, prog_name="classify", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except (ClassifierError, OSError, ValueError) as error:
        return _failed(error)
    except (KeyboardInterrupt, typer.Abort):
        say("stopped.")
        return 1
    except Exception as error:
        # Errors in the arguments; the base class of these is not public.
        if not hasattr(error, "format_message"):
            raise
        if message := error.format_message():
            say(f"{message} See classify --help.")
        return int(getattr(error, "exit_code", 2))


def _failed(error: Exception) -> int:
    if isinstance(error, BrokenPipeError):
        # Whoever read the output has enough. Python must not fail again when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    say(describe(error))
    return 1


if __name__ == "__main__":
    sys.exit(main())
