"""Streams over a long time: memory, answers of many streams at once, and what a step costs.

    python tools/bench/streaming.py --steps 1000000 --seconds 60 --json result.json

A 2-layer LSTM is exported. One stream is pushed --steps single steps, its resident memory watched.
--streams streams of a pool run for --seconds with chunks, resets and ends at random, and every
answer is compared with the whole-sequence graph's. The table of chunks and streams is timed in
turn. Exit code 1 when memory grows by more than 2 MiB after the first tenth, or an answer differs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import rnn_edge
from rnn_edge.profiling import profile_stream

FEATURES, HIDDEN, LAYERS = 40, 64, 2
CHUNKS, STREAMS = (1, 10, 100), (4, 16)
MOST_GROWTH = 2 * 2**20
# An answer counts as wrong above this; chunks of an LSTM are the same bits on most machines.
TOLERANCE = 1e-5
# Frames after which a stream ends, is compared and starts anew.
LONGEST = 400


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--turns", type=int, default=200, help="Of each row of the table.")
    parser.add_argument("--json", type=Path, help="Write the figures here too.")
    options = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        bundle = export(Path(folder) / "lstm")
        found: dict[str, Any] = {
            "model": f"{LAYERS}-layer LSTM, {FEATURES} features, {HIDDEN} hidden",
            "load_before": os.getloadavg()[0],
            "soak": soak(bundle, options.steps),
            "pool": run_pool(bundle, options.streams, options.seconds),
            "costs": time_chunks(bundle, options.turns),
            "profile": profile_stream(bundle, calls=5000, seconds=5.0).to_dict(),
            "load_after": os.getloadavg()[0],
        }
    text = json.dumps(found, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    grown = found["soak"]["growth_bytes"] > MOST_GROWTH
    return int(grown or found["pool"]["mismatches"] > 0)


def export(folder: Path) -> rnn_edge.Bundle:
    return rnn_edge.export(
        nn.LSTM(FEATURES, HIDDEN, LAYERS, batch_first=True),
        torch.randn(2, 6, FEATURES),
        folder,
        axes=[("batch", "sequence", None)],
        output_names=["y", "h_n", "c_n"],
        stream=True,
    )


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def soak(bundle: rnn_edge.Bundle, steps: int) -> dict[str, Any]:
    """Push single steps; memory after the first tenth is what later memory is compared with."""
    stream = rnn_edge.StreamSession(bundle)
    frames = np.random.default_rng(0).standard_normal((1024, 1, 1, FEATURES)).astype(np.float32)
    warm_up, before, most = max(1, steps // 10), 0, 0
    start = time.perf_counter()
    for step in range(steps):
        outputs = stream.push(frames[step % 1024])
        if step + 1 == warm_up:
            before = most = resident_bytes()
        elif step % 10_000 == 0 and step > warm_up:
            most = max(most, resident_bytes())
    most = max(most, resident_bytes())
    assert all(np.isfinite(array).all() for array in outputs)
    return {
        "steps": steps,
        "seconds": time.perf_counter() - start,
        "resident_after_warm_up": before,
        "growth_bytes": most - before,
    }


class Streams:
    """Streams of a pool with all that went in and came out since each one started."""

    def __init__(self, bundle: rnn_edge.Bundle, count: int) -> None:
        self._pool = rnn_edge.StreamPool(bundle, max_batch=count)
        self._whole = rnn_edge.Session(bundle)
        self._random = np.random.default_rng(1)
        self._past: dict[int, list[np.ndarray]] = {}
        self._answers: dict[int, list[np.ndarray]] = {}
        self.frames = self.compared = self.mismatches = 0
        self.worst = 0.0
        for _ in range(count):
            self._start(self._pool.open())

    def round(self) -> None:
        """Push a chunk to some streams, run all that are ready, end those that are long."""
        random = self._random
        for number in list(self._past):
            if random.random() < 0.7:
                chunk = random.standard_normal((1, int(random.choice((1, 1, 1, 4))), FEATURES))
                self._past[number].append(chunk.astype(np.float32))
                self._pool.push(number, self._past[number][-1])
        while done := self._pool.run_ready():
            for number, outputs in done.items():
                self._answers[number].append(outputs[0])
        for number in list(self._past):
            length = sum(chunk.shape[1] for chunk in self._past[number])
            if length > LONGEST or (length and random.random() < 0.002):
                self._end(number)

    def finish(self) -> None:
        for number in list(self._past):
            if self._past[number]:
                self._compare(number)

    def _start(self, number: int) -> None:
        self._past[number], self._answers[number] = [], []

    def _end(self, number: int) -> None:
        """Compare, and start anew: by a reset, or as another stream."""
        self._compare(number)
        if self._random.random() < 0.5:
            self._pool.reset(number)
        else:
            self._pool.close(number)
            del self._past[number], self._answers[number]
            number = self._pool.open()
        self._start(number)

    def _compare(self, number: int) -> None:
        x = np.concatenate(self._past[number], axis=1)
        found = np.concatenate(self._answers[number], axis=1)
        expected = self._whole.run({self._input: x})[0]
        error = float(np.max(np.abs(found - expected)))
        self.worst = max(self.worst, error)
        self.mismatches += error > TOLERANCE
        self.compared += 1
        self.frames += x.shape[1]

    @property
    def _input(self) -> str:
        return self._whole.contract.inputs[0].name


def time_chunks(bundle: rnn_edge.Bundle, turns: int) -> list[dict[str, Any]]:
    """Each number of streams with each size of chunk, in turn: microseconds a step of a stream,
    and the median of that over one stream's in single steps."""
    random = np.random.default_rng(3)
    calls: dict[tuple[int, int], Callable[[], Any]] = {}
    for size in CHUNKS:
        alone = rnn_edge.StreamSession(bundle)
        chunk = random.standard_normal((1, size, FEATURES)).astype(np.float32)
        calls[1, size] = partial(alone.push, chunk)
        for count in STREAMS:
            pool = rnn_edge.StreamPool(bundle, max_batch=count)
            calls[count, size] = partial(pool.push_many, {pool.open(): chunk for _ in range(count)})
    times: dict[tuple[int, int], list[float]] = {key: [] for key in calls}
    for turn in range(turns + 5):
        for key in list(calls)[:: 1 if turn % 2 else -1]:
            repeats = max(1, 200 // (key[0] * key[1]))
            start = time.process_time()
            for _ in range(repeats):
                calls[key]()
            times[key].append((time.process_time() - start) / (repeats * key[0] * key[1]) * 1e6)
    one = np.array(times[1, 1][5:])
    return [
        {
            "streams": count, "chunk": size, "us": float(np.median(taken[5:])),
            "cost": float(np.median(np.array(taken[5:]) / one)),
        }
        for (count, size), taken in sorted(times.items())
    ]  # fmt: skip


def run_pool(bundle: rnn_edge.Bundle, count: int, seconds: float) -> dict[str, Any]:
    streams = Streams(bundle, count)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        streams.round()
    streams.finish()
    return {
        "streams": count,
        "seconds": seconds,
        "sequences_compared": streams.compared,
        "frames": streams.frames,
        "mismatches": streams.mismatches,
        "worst_error": streams.worst,
    }


if __name__ == "__main__":
    sys.exit(main())
