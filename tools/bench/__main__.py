"""Speed of rnn-edge against its peers, in one run.

    python tools/bench                          # everything, about 20 minutes
    python tools/bench --quick                  # fewer sizes and turns
    python tools/bench --only step --json speed.json --plot speed.png

The process is pinned to one core. Every competitor's answer is compared with torch's before any is
timed; all take turns on the same data, in one order and then the reverse. Peers that are not
installed (openvino, jax: `pip install rnn-edge[bench]`) are named and left out. Exit code 1 where a
ratio that was asked for is not reached.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from speed.generation import measure_generation
from speed.peers import PEERS, installed
from speed.quantised import measure_quantised
from speed.sequences import measure_ragged, measure_sequences
from speed.starts import measure_exports, measure_starts
from speed.steps import CELLS, measure_pool, measure_steps
from speed.training import measure_training
from speed.turns import Row

GROUPS = (
    "step", "sequences", "int8", "ragged", "streams", "generation", "starts", "export", "training",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=GROUPS, action="append", help="These groups alone.")
    parser.add_argument("--quick", action="store_true", help="Fewer sizes and turns.")
    parser.add_argument("--turns", type=int, help="How often each competitor has its turn.")
    parser.add_argument("--images", type=Path, help="IDX files to train on.  [default: digits]")
    parser.add_argument("--json", type=Path, help="Write the figures here.")
    parser.add_argument("--plot", type=Path, help="Draw the ratios into this PNG file.")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    for peer in PEERS:
        if not installed(peer):
            print(f"left out: {peer} is not installed", file=sys.stderr)
    turns = options.turns or (40 if options.quick else 150)
    before, rows = os.getloadavg()[0], []
    for found in measure(options.only or GROUPS, options.quick, turns, options.images):
        show(found)
        rows += found
    missed = [row for row in rows if row.reached is False]
    asked = [row for row in rows if row.reached is not None]
    print(f"{len(asked) - len(missed)} of {len(asked)} ratios that were asked for are reached.")
    if options.json is not None:
        about = {"load_before": before, "load_after": os.getloadavg()[0], "turns": turns}
        figures = [{**asdict(row), "reached": row.reached} for row in rows]
        text = json.dumps({**about, "rows": figures}, indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.plot is not None:
        draw(rows, options.plot)
    return int(bool(missed))


def measure(
    groups: Sequence[str], quick: bool, turns: int, images: Path | None
) -> Iterator[list[Row]]:
    """The rows of one model after the other."""
    with tempfile.TemporaryDirectory() as place:
        number = 0

        def folder() -> Path:
            nonlocal number
            number += 1
            made = Path(place) / str(number)
            made.mkdir()
            return made

        for cell in CELLS:
            if "step" in groups:
                for hidden in (32, 64, 128, 256) if quick else (32, 64, 128, 256, 512):
                    for layers in (1,) if quick else (1, 2):
                        yield measure_steps(cell, hidden, layers, folder(), turns)
            if "sequences" in groups:
                for hidden in (64, 256):
                    for batch in (1, 32) if quick else (1, 8, 32):
                        yield measure_sequences(cell, hidden, batch, folder(), turns // 5)
            if "int8" in groups:
                for hidden in (256, 512):
                    yield from measure_quantised(cell, hidden, folder(), turns)
            if "ragged" in groups:
                for hidden in (64, 256):
                    for kind in ("uniform", "log-normal"):
                        yield measure_ragged(cell, hidden, kind, folder(), turns // 5)
            if "generation" in groups:
                for hidden in (256, 512):
                    for embedding in (hidden, 64):
                        yield measure_generation(cell, hidden, embedding, folder(), turns // 5)
            if "export" in groups:
                yield measure_exports(CELLS[cell], folder(), 3 if quick else 7)
        if "starts" in groups:
            yield measure_starts(folder(), 5 if quick else 15)
        if "streams" in groups:
            yield measure_pool(folder(), turns)
        if "training" in groups:
            yield measure_training(images, folder(), 3)


def show(rows: Sequence[Row]) -> None:
    table = Table(title=f"{rows[0].group}: {rows[0].case}", title_justify="left")
    for column in ("ours", "against", "ours is", "other is", "ratio", "quartiles", "asked"):
        table.add_column(column, justify="left" if column in ("ours", "against") else "right")
    for row in rows:
        mark = "" if row.wanted is None else f"{row.wanted:g} {'yes' if row.reached else 'no'}"
        table.add_row(
            row.ours, row.against,
            *(f"{value:.2f} {row.unit}" for value in (row.ours_median, row.other_median)),
            f"{row.ratio:.2f}", f"{row.low:.2f} {row.high:.2f}", mark,
        )  # fmt: skip
    Console(width=110).print(table)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Ratios as bars, a colour for each competitor, cases below each other."""
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys((row.group, row.case, row.ours) for row in rows))
    others = list(dict.fromkeys(row.against for row in rows))
    figure = Figure(figsize=(9, 1 + 0.45 * len(cases)), layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / len(others)
    for place, other in enumerate(others):
        found = {(r.group, r.case, r.ours): r.ratio for r in rows if r.against == other}
        at = [cases.index(case) + place * height for case in found]
        axes.barh(at, list(found.values()), height, label=other)
    axes.set_yticks(
        [number + 0.4 for number in range(len(cases))],
        [f"{group}: {case}, {ours}" for group, case, ours in cases],
        fontsize=7,
    )
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("times faster than the other")
    axes.invert_yaxis()
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
