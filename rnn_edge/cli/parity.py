"""How commands show a parity report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from rnn_edge.cli.tables import print_table


def print_parity(parity: Mapping[str, Any]) -> None:
    """A table with the worst case of each output, and what it was compared with."""
    rows = [
        (
            output["name"],
            f"{output['error']:.2g}",
            f"{output['tolerance']:.2g}",
            f"{output['noise']:.2g}",
            ", ".join(f"{axis} {size}" for axis, size in output["sizes"].items()),
        )
        for output in parity["outputs"]
    ]
    print_table(["output", "worst error", "allowed", "float noise", "at"], rows)
    click.echo(f"Right at all {len(parity['cases'])} sizes tried, against {parity['oracle']}.")
