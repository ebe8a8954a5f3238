"""Writes what a shell needs to complete the commands of `python -m auth`.

A shell completes the arguments of one command's name, and `python -m auth` is none. The script therefore also defines a
command, `classifier-auth`, which runs this Python with this code from any folder.
"""

import shlex
import sys

from auth.cli import values
from auth.cli.arguments import Parser
from configs.data_folder import PROJECT

NAME = "classifier-auth"
SHELLS = ("bash", "zsh", "fish")


def script(parser: Parser, shell: str) -> str:
    """Return the script.

    Args:
        parser: of all commands; its program is `NAME`.
        shell: one of `SHELLS`.
    """
    # No other command needs it.
    import shtab

    for argument in parser.all_arguments():
        if argument.type in (values.file, values.file_or_stdout):
            argument.complete = shtab.FILE  # type: ignore[attr-defined]
    command = shlex.join(("env", f"PYTHONPATH={PROJECT}", sys.executable, "-P", "-m", "auth"))
    functions = {"fish": f"function {NAME}; {command} $argv; end"}
    function = functions.get(shell, f'{NAME}() {{ {command} "$@"; }}')
    return f"{function}\n{shtab.complete(parser, shell)}"
