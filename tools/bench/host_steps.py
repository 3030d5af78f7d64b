"""One step of a stream in every host, side by side in one run, and the bytes of each program.

    python tools/bench/host_steps.py exported/sine --json hosts.json

Writes each program with `rnn-edge integrate`, builds it with a driver that times its steps, and
lets all take turns on one core. Hosts whose tools are missing are named and left out:
tools/install-hosts brings them. Ratios are against StreamSession in Python: above 1 is faster.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from host_programs.builds import BUILDS, Built, MissingToolError
from rich.console import Console
from rich.table import Table
from torch import nn

import rnn_edge
from rnn_edge.bundle import Bundle
from rnn_edge.errors import RnnEdgeError

TURN_SECONDS = 0.02


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundles", nargs="*", type=Path, help="Bundles that stream.")
    parser.add_argument(
        "--hidden", type=int, action="append", default=[], help="LSTMs of this size."
    )
    parser.add_argument("--host", choices=list(BUILDS), action="append", help="These alone.")
    parser.add_argument("--turns", type=int, default=41)
    parser.add_argument("--json", type=Path, help="Write the figures here.")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    hosts = [name for name in BUILDS if name == "python" or name in (options.host or BUILDS)]
    told = {}
    with tempfile.TemporaryDirectory() as place:
        bundles = [Bundle.load(path) for path in options.bundles]
        bundles += [export_lstm(size, Path(place) / f"lstm-{size}") for size in options.hidden]
        for bundle in bundles:
            built = build(bundle, hosts, Path(place) / "programs" / bundle.name)
            told[bundle.name] = figures(built, options.turns)
            show(bundle.name, told[bundle.name])
    if options.json is not None:
        about = {"load": os.getloadavg(), "turns": options.turns, "bundles": told}
        options.json.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return 0


def export_lstm(hidden: int, path: Path) -> Bundle:
    """An LSTM with 40 inputs."""
    core = nn.LSTM(40, hidden, batch_first=True).eval()
    axes = [("batch", "sequence", None)]
    return rnn_edge.export(core, (torch.randn(2, 20, 40),), path, axes=axes)


def build(bundle: Bundle, hosts: list[str], place: Path) -> dict[str, Built]:
    built = {}
    for name in hosts:
        folder = place / name.replace(", engine ", "-")
        folder.mkdir(parents=True)
        try:
            built[name] = BUILDS[name](bundle, folder)
        except (MissingToolError, RnnEdgeError) as error:
            print(f"left out: {name}, {error}", file=sys.stderr)
    return built


def figures(built: dict[str, Built], turns: int) -> dict[str, dict[str, float]]:
    """Microseconds and ratio of each, medians over the turns."""
    with contextlib.ExitStack() as stack:
        programs = {name: stack.enter_context(running(one)) for name, one in built.items()}
        counts = {}
        for name, program in programs.items():
            for count in (20, 200, 2000):
                warm = ask(program, count)
            counts[name] = max(5, int(TURN_SECONDS * 1e6 / warm))
        found: dict[str, list[float]] = {name: [] for name in programs}
        for turn in range(turns):
            for name in list(programs)[:: 1 if turn % 2 else -1]:
                found[name].append(ask(programs[name], counts[name]))
    base = np.array(found["python"])
    result = {}
    for name, times in found.items():
        low, middle, high = np.percentile(base / np.array(times), [25, 50, 75]).tolist()
        result[name] = {
            "us": float(np.median(times)), "ratio": middle, "low": low, "high": high,
            "bytes": built[name].own, "runtime_bytes": built[name].runtime,
        }  # fmt: skip
    return result


@contextlib.contextmanager
def running(built: Built) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    program = subprocess.Popen(built.command, cwd=built.folder, stdin=pipe, stdout=pipe, text=True)
    try:
        yield program
    finally:
        assert program.stdin is not None
        program.stdin.close()
        program.wait(timeout=60)


def ask(program: subprocess.Popen[str], count: int) -> float:
    """Microseconds a step of ``count`` steps."""
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(f"{count}\n")
    program.stdin.flush()
    line = program.stdout.readline()
    if not line:
        raise RuntimeError(f"{program.args!r} ended with {program.wait()}")
    return float(line)


def show(name: str, told: dict[str, dict[str, float]]) -> None:
    table = Table(title=name)
    for column in ("host", "µs a step", "against Python", "spread", "own KiB", "runtime MiB"):
        table.add_column(column, justify="left" if column == "host" else "right")
    for host, row in told.items():
        table.add_row(
            host, f"{row['us']:.2f}", f"{row['ratio']:.2f}", f"{row['low']:.2f}-{row['high']:.2f}",
            f"{row['bytes'] / 1024:.0f}", f"{row['runtime_bytes'] / 2**20:.1f}",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
