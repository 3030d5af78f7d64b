"""Tables of results: drawn on a terminal, tab-separated lines everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import click


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None
) -> None:
    """Print rows under ``columns`` to stdout; floats with 6 significant digits.

    Piped, the title and the columns each get a line of their own.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        for line in (*([[title]] if title else []), list(columns), *cells):
            click.echo("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        numeric = bool(cells) and all(_is_number(row[place]) for row in cells)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        # Text, because brackets in what a person typed must not be read as markup.
        table.add_row(*map(Text, row))
    Console().print(table)


def excerpt(text: str, most: int = 60) -> str:
    """``text`` in one line of at most ``most`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(value).split())


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
