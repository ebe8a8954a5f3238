"""Draws what commands print on a terminal as SVG files that load nothing: `python -m testing.page_pictures` uses it."""

import errno
import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from testing.servers import PROJECT

COLUMNS = 80
CLIENT = PROJECT / "client" / "src"
# As that of rich, but without the fonts that it would load from another host.
FORMAT = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; \
font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def draw(path: Path, commands: Sequence[Sequence[str]], environment: Mapping[str, str], folder: Path) -> None:
    """Runs commands one after the other in a folder, and draws them with what they print.

    Args:
        path: the SVG file to write.
        commands: the first word is the name that is shown; it is found in `PATH`.
        environment: of the commands.
        folder: in which they run.

    Raises:
        SystemExit: a command failed.
    """
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        for number, command in enumerate(commands):
            console.print(("\n" if number else "") + f"[bold]$ {' '.join(command)}[/bold]", highlight=False)
            console.print(Text.from_ansi(_printed(command, environment, folder).rstrip()))
        path.write_text(console.export_svg(title="", code_format=FORMAT, unique_id="terminal"), "utf-8")


def add_classify(folder: Path) -> None:
    """Writes the command `classify` into a folder, as `pip install ./client` would, for the sources of this project."""
    command = folder / "classify"
    program = "from classify_command import main; raise SystemExit(main())"
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH="{CLIENT}" exec "{sys.executable}" -c "{program}" "$@"\n', encoding="utf-8"
    )
    command.chmod(0o755)


def _printed(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> str:
    ours, theirs = pty.openpty()
    sizes = {"COLUMNS": str(COLUMNS), "LINES": "40", "TERM": "xterm-256color"}
    with subprocess.Popen(
        command, cwd=folder, env={**environment, **sizes}, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        parts = []
        while part := _read(ours):
            parts.append(part)
    os.close(ours)
    text = b"".join(parts).decode().replace("\r\n", "\n")
    if process.returncode:
        sys.exit(f"ERROR: {' '.join(command)}: {text}")
    return text


def _read(terminal: int) -> bytes:
    """Return some of what was written to a terminal, or nothing once all its writers have gone."""
    try:
        return os.read(terminal, 65536)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""
