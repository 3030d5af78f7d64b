"""Measurements that need a process of their own: one that has imported nothing yet."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.errors import RnnEdgeError

TIME_LIMIT_S = 300

# VmHWM is the peak of this process alone; ru_maxrss would start at the parent's.
_PROGRAM = """
import json, sys, time
request = json.loads(sys.argv[1])

def peak_bytes():
    try:
        with open("/proc/self/status") as status:
            lines = [line.split() for line in status if line.startswith("VmHWM:")]
    except OSError:
        return None
    return int(lines[0][1]) * 1024

marks = [time.perf_counter_ns()]
{imports}
marks.append(time.perf_counter_ns())
imported = peak_bytes()
import numpy
with numpy.load(request["feed"]) as stored:
    feed = dict(stored)
start = time.perf_counter_ns()
{load}
loaded = time.perf_counter_ns()
{run}
marks += [start, loaded, time.perf_counter_ns()]
for _ in range(request["repeats"]):
    {run}
print(json.dumps({{
    "import_ns": marks[1] - marks[0],
    "load_ns": marks[3] - marks[2],
    "first_run_ns": marks[4] - marks[3],
    "imported_bytes": imported,
    "peak_bytes": peak_bytes(),
}}))
"""


@dataclass(frozen=True)
class Program:
    """How an engine starts, as lines of Python; ``request`` is what they may read."""

    engine: str
    imports: str
    load: str
    run: str
    request: Mapping[str, Any]


def session_program(
    source: Path, provider: str, graph: str, threads: int, *, trusted: bool
) -> Program:
    return Program(
        engine="onnxruntime",
        imports="import warnings\nimport onnxruntime\nfrom rnn_edge.runtime import Session",
        load='warnings.simplefilter("ignore")\n'
        'session = Session(request["source"], request["provider"], graph=request["graph"], '
        'threads=request["threads"], trusted=request["trusted"], quantised=False)',
        run="session.run(feed)",
        request={
            "source": str(source.absolute()),
            "provider": provider,
            "graph": graph,
            "threads": threads,
            "trusted": trusted,
        },
    )


def torch_program(checkpoint: Path, threads: int) -> Program:
    return Program(
        engine="torch",
        imports="import torch\nfrom rnn_edge.profiling.engines import TorchEngine\n"
        "from rnn_edge.checkpoint import load_checkpoint",
        load='torch.set_num_threads(request["threads"])\n'
        'engine = TorchEngine(load_checkpoint(request["checkpoint"]).module)\n'
        "engine.setting().__enter__()",
        run="engine.call(engine.prepare(feed))",
        request={"checkpoint": str(checkpoint.absolute()), "threads": threads},
    )


@dataclass(frozen=True)
class Start:
    """What one fresh process measured of itself; bytes are None where the system keeps no count."""

    import_ns: int
    load_ns: int
    first_run_ns: int
    imported_bytes: int | None
    peak_bytes: int | None


def start_fresh(
    program: Program, feed: Mapping[str, np.ndarray], folder: Path, repeats: int
) -> Start:
    """Start, load, run once, then ``repeats`` times more, in a new process.

    ``folder`` holds the feed meanwhile. Raises RnnEdgeError with the child's last words.
    """
    feed_file = folder / "feed.npz"
    np.savez(feed_file, allow_pickle=False, **feed)
    request = {**program.request, "feed": str(feed_file), "repeats": repeats}
    code = _PROGRAM.format(imports=program.imports, load=program.load, run=program.run)
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", code, json.dumps(request)],
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise _failure(program, f"it ran for more than {TIME_LIMIT_S} s") from None
    except subprocess.CalledProcessError as error:
        words = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        raise _failure(program, words[-1]) from None
    return Start(**json.loads(child.stdout.splitlines()[-1]))


def _failure(program: Program, reason: str) -> RnnEdgeError:
    return RnnEdgeError(
        f"a fresh process must be able to start {program.engine}, got: {reason}. "
        "Run the bundle once with `rnn-edge run`, to see why."
    )
