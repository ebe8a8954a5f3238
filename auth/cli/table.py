"""Prints tables: aligned, and in colour on a terminal; aligned plain text in a pipe or a file."""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass

# The colours of the states of keys and users.
_STYLES = {"live": "green", "revoked": "red", "erased": "red", "expired": "yellow", "disabled": "yellow"}
# Wider than any row, so that nothing is wrapped where no terminal sets the width.
_UNLIMITED = 100_000


@dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
        headings: the heading of each column; empty: the first column names what the second one shows.
        rows: the cells of each row.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def write(table: Table) -> None:
    """Print a table to standard output. `NO_COLOR` and `TERM=dumb` switch the colours off."""
    if sys.stdout.isatty():
        _print(table, None)
        return
    plain = io.StringIO()
    _print(table, plain)
    print("\n".join(line.rstrip() for line in plain.getvalue().splitlines()))


def _print(table: Table, file: io.StringIO | None) -> None:
    # Imported here: it takes a tenth of a second, and `--json` needs none of it.
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=False)
    drawn.show_header = bool(table.headings)
    for number in range(len(table.headings or table.rows[0])):
        heading = table.headings[number] if table.headings else ""
        # An id in two lines could not be copied.
        drawn.add_column(Text(heading), no_wrap=number == 0, overflow="fold")
    for row in table.rows:
        cells = [Text(cell, _STYLES.get(cell, "")) for cell in row]
        if not table.headings:
            cells[0].stylize("bold")
        drawn.add_row(*cells)
    if file is None:
        Console().print(drawn)
    else:
        Console(file=file, width=_UNLIMITED, color_system=None, force_terminal=False).print(drawn)
