"""Whole sequences, and batches whose lengths differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnn_edge
from speed.peers import export_stock, fill_and_infer, installed, onednn, open_openvino
from speed.steps import CELLS, STOCK, Whole
from speed.turns import Competitor, Row, check, rows_of

STEPS = 100
RUN = "Session.run"


class Packed(nn.Module):
    def __init__(self, core: nn.RNNBase) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.core(packed)[0], batch_first=True, total_length=x.shape[1])
        return y


def measure_sequences(cell: str, hidden: int, batch: int, folder: Path, turns: int) -> list[Row]:
    """Rows of sequences of 100 steps."""
    torch.manual_seed(0)
    core = CELLS[cell](hidden, hidden, batch_first=True).eval()
    x = torch.randn(batch, STEPS, hidden)
    array = x.numpy()
    module = Whole(core).eval()
    bundle = rnn_edge.export(
        module, torch.randn(2, 6, hidden), folder / "bundle", axes=[("batch", "sequence", None)]
    )
    path = folder / "stock.onnx"
    stock = (
        export_stock(module, (x[:, :6].contiguous(),), path, dynamic=batch > 1, input_names=["x"])
        if (batch > 1)
        else export_stock(module, (x,), path, input_names=["x"])
    )
    ours = rnn_edge.Session(bundle)
    competitors = [
        _plain(RUN, lambda: ours.run(array)[0]),
        _plain(STOCK, lambda: stock.run(None, {"x": array})[0]),
        *(_eager(module, (x,), enabled) for enabled in (True, False)),
    ]
    if installed("openvino"):
        for precision, name, error in (
            ("f32", "openvino", 1e-4), ("bf16", "openvino bf16", 3e-2),
        ):  # fmt: skip
            run = fill_and_infer(open_openvino(path, precision), array)
            competitors.append(_plain(name, run, error))
    with torch.no_grad():
        check(competitors, module(x).numpy())
    return rows_of("sequences", f"{cell} {hidden}, batch {batch}", competitors, turns, [RUN], {})


def measure_ragged(cell: str, hidden: int, kind: str, folder: Path, turns: int) -> list[Row]:
    """Rows of 32 sequences with uniform or log-normal lengths."""
    torch.manual_seed(0)
    random = np.random.default_rng(2)
    drawn = random.uniform(1, 200, 32) if kind == "uniform" else random.lognormal(3.2, 0.9, 32)
    lengths = np.clip(drawn, 1, 400).astype(np.int64)
    core = CELLS[cell](hidden, hidden, batch_first=True).eval()
    module = Packed(core).eval()
    x = torch.randn(32, int(lengths.max()), hidden)
    bundle = rnn_edge.export(
        module,
        (torch.randn(3, 6, hidden), torch.tensor([6, 3, 1])),
        folder / "bundle",
        axes=[("batch", "sequence", None), ("batch",)],
    )
    session = rnn_edge.Session(bundle)
    array = x.numpy()
    feed = {"x": array, "lengths": lengths}
    one_call = "one call with sequence_lens"
    competitors = [
        _plain(RUN, lambda: session.run(feed)[0]),
        _plain(one_call, lambda: session.native.run(None, feed)[0]),
        *(_eager(module, (x, torch.from_numpy(lengths)), enabled) for enabled in (True, False)),
    ]
    with torch.no_grad():
        check(competitors, module(x, torch.from_numpy(lengths)).numpy())
    wanted = {(RUN, one_call): 2.5, (RUN, "torch"): 2.5} if kind == "log-normal" else {}
    case = f"{cell} {hidden}, {kind}, mean {lengths.mean():.0f} of {lengths.max()}"
    return rows_of("ragged", case, competitors, turns, [RUN], wanted)


def _plain(name: str, call: Any, error: float = 1e-4) -> Competitor:
    return Competitor(name, call, call, error)


def _eager(module: nn.Module, args: tuple[Tensor, ...], enabled: bool) -> Competitor:
    def call() -> np.ndarray:
        with torch.inference_mode(), onednn(enabled):
            found: np.ndarray = module(*args).numpy()
        return found

    return _plain("torch" if enabled else "torch, no oneDNN", call)


def _first(results: Any) -> np.ndarray:
    found: np.ndarray = next(iter(results.values()))
    return found
