"""The parser of the commands, and arguments that several commands have."""

import re
from argparse import Action, ArgumentParser
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from auth.api_key import without_keys
from auth.cli import values

# Adds a command to the parser: its name, the function that runs it, what it does, and examples of its arguments.
Add = Callable[..., ArgumentParser]

LIMIT: dict[str, Any] = {"type": values.limit, "metavar": "N/PERIOD"}
TIME: dict[str, Any] = {"type": values.seconds, "metavar": "TIME"}
KEY: dict[str, Any] = {"type": values.key_id, "metavar": "KEY_ID", "help": "the key's id, as 'list' shows it"}
USER: dict[str, Any] = {"type": values.user, "metavar": "USER", "help": "the user's address or id"}
QUOTA: dict[str, Any] = {"type": values.quota, "metavar": "N/PERIOD"}
QUOTA_HELP = "images in a calendar month or day, UTC, such as 10000/month"
PLAN: dict[str, Any] = {"type": values.plan, "metavar": "NAME", "help": "the plan's name"}
LIMIT_HELP = "such as 60/minute, 60/90s, 500/12h or 5000/30d"


class Parser(ArgumentParser):
    """A parser whose errors show no password of a URL and no key."""

    def error(self, message: str) -> NoReturn:
        """Print the message, and end with status 2."""
        super().error(without_keys(re.sub(r"://\S*@", "://...@", message)))

    def all_arguments(self) -> Iterator[Action]:
        """Yield the arguments of this command and of all commands below it."""
        for argument in self._actions:
            yield argument
            if isinstance(argument.choices, dict):
                for command in argument.choices.values():
                    yield from command.all_arguments()


def add_values(command: ArgumentParser, name: str, text: str, kind: dict[str, Any]) -> None:
    """Add an argument that takes one or several values, and the option `--none` for none."""
    command.add_argument(name, nargs="*", help=text, **kind)
    command.add_argument("--none", dest="is_none", action="store_true", help=f"remove each {name}")
