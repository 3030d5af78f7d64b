"""What a fresh process needs until its first answer, its peak memory, and what an export takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import nn

import rnn_edge
from speed.peers import export_stock, installed
from speed.turns import Row, WrongAnswerError, row_of

HIDDEN, LAYERS, STEPS = 256, 2, 10
OURS, EAGER, STOCK, OPENVINO = "rnn_edge.Session", "torch", "onnxruntime", "openvino"
# Between a person's start of the program and its first answer; then what memory it took at most.
_HEAD = """
from time import perf_counter
begun = perf_counter()
import json, sys
import numpy as np
x = np.load("x.npy")
"""
_TAIL = """
taken = perf_counter() - begun
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([taken, int(peak.split()[1]), float(y.ravel()[-1])]))
"""
_BODIES = {
    OURS: "import rnn_edge\ny = rnn_edge.Session('bundle').run(x)[0]",
    EAGER: (
        "import torch\ntorch.set_num_threads(1)\n"
        f"core = torch.nn.LSTM({HIDDEN}, {HIDDEN}, {LAYERS}, batch_first=True).eval()\n"
        "core.load_state_dict(torch.load('core.pt', weights_only=True))\n"
        "with torch.inference_mode():\n    y = core(torch.from_numpy(x))[0].numpy()"
    ),
    STOCK: (
        "import onnxruntime\noptions = onnxruntime.SessionOptions()\n"
        "options.intra_op_num_threads = 1\n"
        "y = onnxruntime.InferenceSession('stock.onnx', options).run(None, {'x': x})[0]"
    ),
    OPENVINO: (
        "import openvino\noptions = {'INFERENCE_NUM_THREADS': 1}\n"
        "model = openvino.Core().compile_model('stock.onnx', 'CPU', options)\n"
        "y = model.create_infer_request().infer({0: x})[0]"
    ),
}


class _Whole(nn.Module):
    def __init__(self, core: nn.LSTM) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.core(x)[0]
        return y


def measure_starts(folder: Path, turns: int) -> list[Row]:
    """Rows of cold start (ms) and peak memory (MiB), each of fresh processes in turn."""
    torch.manual_seed(0)
    core = nn.LSTM(HIDDEN, HIDDEN, LAYERS, batch_first=True).eval()
    x = torch.randn(1, STEPS, HIDDEN)
    axes = [("batch", "sequence", None)]
    rnn_edge.export(_Whole(core), torch.randn(2, 6, HIDDEN), folder / "bundle", axes=axes)
    export_stock(_Whole(core).eval(), (x,), folder / "stock.onnx", input_names=["x"])
    torch.save(core.state_dict(), folder / "core.pt")
    np.save(folder / "x.npy", x.numpy())
    with torch.no_grad():
        truth = float(core(x)[0].numpy().ravel()[-1])
    programs = {n: body for n, body in _BODIES.items() if n != OPENVINO or installed(OPENVINO)}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for turn in range(-1, turns):  # the first fills the caches of files
        for name, body in (programs if turn % 2 else dict(reversed(programs.items()))).items():
            seconds, kibibytes, answer = _run(body, folder)
            if not abs(answer - truth) < 1e-3:
                raise WrongAnswerError(f"{name} is off by {abs(answer - truth):.2g}")
            if turn >= 0:
                found[name].append((1e3 * seconds, kibibytes / 1024))
    times = {name: np.array([one for one, _ in pairs]) for name, pairs in found.items()}
    peaks = {name: np.array([one for _, one in pairs]) for name, pairs in found.items()}
    case = f"LSTM {HIDDEN} x {LAYERS}"
    return [
        *_rows("cold start", case, times, "ms", {EAGER: 8.0}),
        *_rows("peak memory", case, peaks, "MiB", {}),
    ]


def measure_exports(cell: Callable[..., nn.RNNBase], folder: Path, turns: int) -> list[Row]:
    """Rows of what an export takes, ours with its verification and its stream graph."""
    core = cell(64, 64, batch_first=True).eval()
    x = torch.randn(2, 6, 64)
    axes = [("batch", "sequence", None)]
    module = _Whole(core)  # type: ignore[arg-type]
    ways: dict[str, Callable[[], object]] = {
        "export": lambda: rnn_edge.export(module, x, folder / "ours", axes=axes),
        "torch.onnx.export": lambda: export_stock(module.eval(), (x,), folder / "stock.onnx"),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(-1, turns):
        for name, way in (ways if turn % 2 else dict(reversed(ways.items()))).items():
            start = perf_counter()
            way()
            if turn >= 0:
                found[name].append(1e3 * (perf_counter() - start))
    times = {name: np.array(values) for name, values in found.items()}
    return _rows("export", f"{cell.__name__} 64", times, "ms", {})


def _run(body: str, folder: Path) -> tuple[float, int, float]:
    done = subprocess.run(
        [sys.executable, "-c", f"{_HEAD}{body}{_TAIL}"], cwd=folder, capture_output=True,
        text=True, check=True, timeout=300,
    )  # fmt: skip
    seconds, peak, answer = json.loads(done.stdout)
    return float(seconds), int(peak), float(answer)


def _rows(
    group: str, case: str, values: Mapping[str, np.ndarray], unit: str, wanted: Mapping[str, float]
) -> list[Row]:
    ours, *others = values
    return [
        row_of(group, case, ours, other, values[ours], values[other], wanted.get(other), unit)
        for other in others
    ]
