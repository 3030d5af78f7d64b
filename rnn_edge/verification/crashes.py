"""Run a graph in a child process first where ONNX Runtime is known to end the process it runs in.

Its GRU aborts on a sequence or a batch of no rows, its LSTM on a batch of none. A session refuses
such inputs; inside of a loop's body, and behind a slice, sizes are what the graph makes of them.
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
# What follows from the first input alone; a convolution refuses what is shorter than its kernel.
_FIRST_COUNTS = {
    "RNN", "GRU", "LSTM", "Squeeze", "Unsqueeze", "Expand", "BatchNormalization",
    "LayerNormalization", "Conv", "MaxPool", "AveragePool",
}  # fmt: skip
_KEEPING_STEPS = _FIRST_COUNTS | {
    "Add", "Sub", "Mul", "Div", "Pow", "Where", "Equal", "Less", "Greater", "And", "Or", "Not",
    "Abs", "Neg", "Exp", "Log", "Sqrt", "Clip", "Cast", "Identity", "Transpose", "Concat", "Gather",
    "MatMul", "Gemm", "Tanh", "Sigmoid", "Relu", "LeakyRelu", "Elu", "Gelu", "Erf", "Softplus",
    "Softmax", "CumSum",
}  # fmt: skip

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
            f"({_ending(child.returncode)}): a GRU or LSTM gets no row or no step. Give it one at "
            "least, outside of any loop or branch.",
            sizes=cases[done].sizes,
        )


def may_crash(path: Path) -> bool:
    """Whether a layer may be run on nothing, and end the process.

    That is one in the body of a loop or branch, and a GRU whose steps are not those of an input.
    """
    graph = ir.load(path).graph
    return any(
        node.graph is not graph or (node.op_type == "GRU" and not _has_steps(node.inputs[0]))
        for node in graph.all_nodes()
        if node.op_type in _ABORTING
    )


def _has_steps(value: ir.Value | None) -> bool:
    """Whether ``value`` has as many steps as an input of the graph, which has one at least."""
    pending, seen = [value], set()
    while pending:
        value = pending.pop()
        node = value.producer() if value is not None else None
        if node is None or node in seen:
            continue
        if node.op_type not in _KEEPING_STEPS:
            return False
        seen.add(node)
        pending += node.inputs[:1] if node.op_type in _FIRST_COUNTS else node.inputs
    return True


def _ending(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"
