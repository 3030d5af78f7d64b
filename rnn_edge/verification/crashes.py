"""Run a graph in a child process first where ONNX Runtime is known to end the process it runs in.

Its GRU aborts on a sequence or a batch of no rows, its LSTM on a batch of none. A session refuses
such inputs; inside of a loop's body, sizes are what the graph makes of them.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from rnn_edge.errors import VerificationError
from rnn_edge.runtime import Session
from rnn_edge.verification.cases import Case

SECONDS = 300
_ABORTING = {"GRU", "LSTM"}

_CHILD = """
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except (ImportError, ValueError, OSError):
    pass
import numpy
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.log_severity_level = 4
session = onnxruntime.InferenceSession(sys.argv[1], options, ["CPUExecutionProvider"])
names = [value.name for value in session.get_inputs()]
for file in sys.argv[2:]:
    with numpy.load(file) as arrays:
        feed = {name: arrays[f"arr_{place}"] for place, name in enumerate(names)}
    try:
        session.run(None, feed)
    except Exception:
        pass  # A refusal is found, and told in words, where the answers are compared.
    print("done", flush=True)
"""


def refuse_crashes(session: Session, cases: Sequence[Case]) -> None:
    """Raise VerificationError where one of ``cases`` ends a process that runs the graph.

    A child process runs them, where the graph holds what may do so; else there is none.
    """
    if not may_crash(session.path):
        return
    names = [value.name for value in session.native.get_inputs()]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.npz" for number in range(len(cases))]
        for file, case in zip(files, cases, strict=True):
            np.savez(file, *(case.inputs[name] for name in names))
        command = [sys.executable, "-c", _CHILD, str(session.path), *map(str, files)]
        try:
            child = subprocess.run(
                command, capture_output=True, timeout=SECONDS, check=False, encoding="utf-8",
                errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return  # Slow is not fatal: the comparison takes as long as it takes.
    done = child.stdout.count("done")
    if child.returncode != 0 and done < len(cases):
        sizes = ", ".join(f"{axis} {size}" for axis, size in cases[done].sizes.items())
        raise VerificationError(
            f"the graph must run at {sizes} as the module does, it ends the process "
            f"({_ending(child.returncode)}): a GRU or LSTM in a loop gets no row. "
            "Run that layer outside of the loop, or give the loop at least one step."
        )


def may_crash(path: Path) -> bool:
    """Whether the body of a loop or branch holds a layer that aborts on empty inputs."""
    graph = ir.load(path).graph
    return any(node.op_type in _ABORTING and node.graph is not graph for node in graph.all_nodes())


def _ending(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"
