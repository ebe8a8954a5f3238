"""Prints tables: aligned, and in colour on a terminal; aligned plain text in a pipe or a file."""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
        spare: the headings of columns that a narrow terminal leaves out, the first one first.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    spare: Sequence[str] = ()

    def without(self, heading: str) -> "Table":
        """Return the table without a column."""
        left_out = self.headings.index(heading)
        rows = [[*row[:left_out], *row[left_out + 1 :]] for row in self.rows]
        return Table([other for other in self.headings if other != heading], rows)


def write(table: Table) -> None:
    """Print a table to standard output. `NO_COLOR` and `TERM=dumb` switch the colours off."""
    # Imported here: it takes a tenth of a second, and `--json` needs none of it.
    from rich.console import Console

    if sys.stdout.isatty():
        console = Console()
        console.print(_fitting(table, console))
        return
    plain = io.StringIO()
    Console(file=plain, width=_UNLIMITED, color_system=None, force_terminal=False).print(_drawn(table))
    print("\n".join(line.rstrip() for line in plain.getvalue().splitlines()))


def _fitting(table: Table, console: Any) -> Any:
    """Return the table as rich draws it, without as many of the spare columns as the terminal is too narrow for."""
    from rich.measure import Measurement

    drawn = _drawn(table)
    for heading in table.spare:
        if Measurement.get(console, console.options.update(width=_UNLIMITED), drawn).maximum <= console.width:
            break
        table = table.without(heading)
        drawn = _drawn(table)
    return drawn


def _drawn(table: Table) -> Any:
    from rich.table import Table as RichTable
    from rich.text import Text

    has_headings = bool(table.headings)
    drawn = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=has_headings)
    for number, heading in enumerate(table.headings or ("", "")):
        # An id in two lines could not be copied.
        drawn.add_column(Text(heading), no_wrap=number == 0, overflow="fold")
    for row in table.rows:
        cells = [Text(cell, _STYLES.get(cell, "")) for cell in row]
        if not has_headings:
            cells[0].stylize("bold")
        drawn.add_row(*cells)
    return drawn
