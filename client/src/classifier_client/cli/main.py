"""Runs the command line: finds the command, and turns errors into one line and an exit status.

Exit status: 0 done, 1 refused or failed, 2 wrong arguments, 130 stopped with Ctrl+C.
"""

from __future__ import annotations

import io
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
app.command("images", help="Classify image files and folders (also without this word).")(images.images)
app.command("usage", help="Show your usage and your limits.")(usage.usage)
app.add_typer(keys.app, name="keys")
app.command("login", help="Ask for a key, check it and keep it.")(account.login)
app.command("logout", help="Forget the key.")(account.logout)
app.command("watch", help="Classify the images on an MQTT topic.")(watch.watch)

# What shells make of a process that Ctrl+C has ended.
STOPPED = 130
_COMMANDS = frozenset({"images", "usage", "keys", "login", "logout", "watch"})
# What is no file although it is no command.
_OPTIONS = frozenset({"--help", "--install-completion", "--show-completion"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, by default those of the process, and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # A terminal that lacks a character shows another one.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if given and given[0] not in _COMMANDS | _OPTIONS:
        given.insert(0, "images")
    status = _status_of(given)
    if status == STOPPED:
        say("stopped.")
    return status


def _status_of(given: list[str]) -> int:
    try:
        # Newer versions of typer do not raise Ctrl+C; they return STOPPED.
        status = app(given, prog_name="classify", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except (ClassifierError, OSError, ValueError) as error:
        return _failed(error)
    except (KeyboardInterrupt, typer.Abort):
        return STOPPED
    except Exception as error:
        # Errors in the arguments; the base class of these is not public.
        if not hasattr(error, "format_message"):
            raise
        # Without arguments it is the whole help.
        message = error.format_message() if given else "name an image or a folder, such as classify photo.jpg."
        if message:
            say(f"{message} See classify --help.")
        return int(getattr(error, "exit_code", 2))


def _failed(error: Exception) -> int:
    # Whoever closed a pipe has read enough.
    if isinstance(error, OSError) and error.filename is None and not isinstance(error, BrokenPipeError):
        say(f"The output can't be written: {error.strerror or error}.")
    elif not isinstance(error, BrokenPipeError):
        say(describe(error))
    try:
        sys.stdout.flush()
    except OSError:
        # Python must not fail again when it closes the output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
