"""One step at batch 1, each competitor carrying its own states; and many streams at once."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.errors import IntegrationError, ProviderError
from speed.peers import export_stock, installed, numpy_step, onednn, open_openvino
from speed.turns import Competitor, Row, check, rows_of

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"LSTM": nn.LSTM, "GRU": nn.GRU}
# Steps that are compared before any is timed.
CHECKED = 6
PUSH, PUSH_C, PUSH_C8, STOCK = "push", "push, engine c", "push, engine c-int8", "export + run"
NATIVE, NATIVE8 = "C by ctypes alone", "C by ctypes alone, int8"
OURS = (PUSH, PUSH_C, PUSH_C8, NATIVE, NATIVE8)


class Whole(nn.Module):
    def __init__(self, core: nn.RNNBase) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.core(x)[0]
        return y


class Step(nn.Module):
    """As it is exported by hand: states in and out."""

    def __init__(self, core: nn.RNNBase) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        given: Any = states if len(states) == 2 else states[0]
        y, after = self.core(x, given)
        return (y, *after) if isinstance(after, tuple) else (y, after)


def measure_steps(cell: str, hidden: int, layers: int, folder: Path, turns: int) -> list[Row]:
    """Rows of one step of one model."""
    torch.manual_seed(0)
    core = CELLS[cell](hidden, hidden, layers, batch_first=True).eval()
    frames = np.random.default_rng(1).standard_normal((64, 1, 1, hidden)).astype(np.float32)
    with torch.no_grad():
        truth = core(torch.from_numpy(frames[:CHECKED, 0].reshape(1, CHECKED, hidden)))[0][0]
    makers = dict(_makers(core, folder))
    competitors = []
    for name, make in makers.items():
        step = make()
        competitors.append(
            Competitor(
                name,
                step.timed(frames[0]) if isinstance(step, _Native) else cycle(step, frames),
                push_answers(make(), frames),
                0.1 if "int8" in name else 2e-2 if "bf16" in name else 1e-4,
            )
        )  # fmt: skip
    check(competitors, truth.numpy())
    case = f"{cell} {hidden}" + (f" x {layers}" if layers > 1 else "")
    names = [name for name in OURS if name in makers]
    wanted = _wanted(hidden) if layers == 1 else {}
    return rows_of("a step", case, competitors, turns, names, wanted)


def _wanted(hidden: int) -> dict[tuple[str, str], float]:
    """The ratios that are asked for, by (ours, other)."""
    stock = {32: 2.5, 64: 2.5, 128: 1.9}.get(hidden)
    openvino = {32: 1.8, 64: 1.8}.get(hidden)
    native = {32: 10.0, 64: 4.0, 128: 2.5}.get(hidden)
    found = {
        (PUSH, STOCK): stock, (PUSH_C, STOCK): stock,
        (PUSH, "openvino"): openvino, (PUSH_C, "openvino"): openvino,
        (NATIVE, PUSH): native, (NATIVE8, PUSH): 5.0 if hidden == 256 else None,
    }  # fmt: skip
    return {key: value for key, value in found.items() if value is not None}


StepCall = Callable[[np.ndarray], np.ndarray]


def _makers(core: nn.RNNBase, folder: Path) -> Iterator[tuple[str, Callable[[], StepCall]]]:
    yield from _ours(core, folder)
    states = 2 if isinstance(core, nn.LSTM) else 1
    zeros = [torch.zeros(core.num_layers, 1, core.hidden_size) for _ in range(states)]
    path = folder / "stock.onnx"
    names = [f"s{n}" for n in range(states)]
    session = export_stock(
        Step(core), (torch.randn(1, 1, core.input_size), *zeros), path,
        input_names=["x", *names], output_names=["y", *(f"{name}n" for name in names)],
    )  # fmt: skip
    yield STOCK, partial(_stock, session, zeros)
    yield "torch", partial(_torch, core, True)
    yield "torch, no oneDNN", partial(_torch, core, False)
    if core.num_layers == 1:
        yield "numpy", partial(_numpy, core, zeros)
        if installed("jax"):
            yield "jax", lambda: _jax(core, zeros)
    if installed("openvino"):
        yield "openvino", partial(_openvino, path, "f32", zeros)
        yield "openvino bf16", partial(_openvino, path, "bf16", zeros)


def _ours(core: nn.RNNBase, folder: Path) -> Iterator[tuple[str, Callable[[], StepCall]]]:
    bundle = rnn_edge.export(
        Whole(core), torch.randn(2, 6, core.input_size), folder / "bundle",
        axes=[("batch", "sequence", None)],
    )  # fmt: skip
    yield PUSH, lambda: _push(rnn_edge.StreamSession(bundle))
    for engine, name in (("c", PUSH_C), ("c-int8", PUSH_C8)):
        try:
            rnn_edge.StreamSession(bundle, engine=engine)
        except (ProviderError, IntegrationError) as error:
            print(f"left out: {name}: {error}")
            continue
        yield name, partial(_open, bundle, engine)
        alone = NATIVE if engine == "c" else NATIVE8
        yield alone, partial(_Native, bundle, engine)


def _stock(session: Any, zeros: Sequence[Tensor]) -> StepCall:
    names = [f"s{number}" for number in range(len(zeros))]
    held = [zero.numpy() for zero in zeros]

    def step(x: np.ndarray) -> np.ndarray:
        y, *held[:] = session.run(None, {"x": x, **dict(zip(names, held, strict=True))})
        return y

    return step


def _numpy(core: nn.RNNBase, zeros: Sequence[Tensor]) -> StepCall:
    run = numpy_step(core)
    held: Any = [tuple(zero[0].numpy() for zero in zeros)]

    def step(x: np.ndarray) -> np.ndarray:
        h, held[0] = run(x[0], held[0])
        return h[None]

    return step


class _Native:
    """The generated C on a frame that lies where it reads: no check, no copy."""

    def __init__(self, bundle: rnn_edge.Bundle, engine: str) -> None:
        self.stream = rnn_edge.StreamSession(bundle, engine=engine)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.stream.push(x)[0]

    def timed(self, x: np.ndarray) -> Callable[[], Any]:
        self.stream.push(x)
        plan = self.stream._plan
        return lambda: plan.run()


def _open(bundle: rnn_edge.Bundle, engine: str) -> StepCall:
    return _push(rnn_edge.StreamSession(bundle, engine=engine))


def _push(stream: rnn_edge.StreamSession) -> StepCall:
    return lambda x: stream.push(x)[0]


def _torch(core: nn.RNNBase, enabled: bool) -> StepCall:
    held: list[Any] = [None]

    def step(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), onednn(enabled):
            y, held[0] = core(torch.from_numpy(x), held[0])
        found: np.ndarray = y.numpy()
        return found

    return step


def _openvino(path: Path, precision: str, zeros: list[Tensor]) -> StepCall:
    """Its fastest way: its own tensors are written and read, and infer() is given nothing.

    Numbers given to infer() took twice as long, tensors that swap roles half as long again.
    """
    request = open_openvino(path, precision)
    frame, *before = (request.get_input_tensor(n).data for n in range(1 + len(zeros)))
    y, *after = (request.get_output_tensor(n).data for n in range(1 + len(zeros)))
    for state, zero in zip(before, zeros, strict=True):
        state[...] = zero.numpy()

    def step(x: np.ndarray) -> np.ndarray:
        frame[...] = x
        request.infer()
        for old, new in zip(before, after, strict=True):
            old[...] = new
        found: np.ndarray = y.copy()
        return found

    return step


def _jax(core: nn.RNNBase, zeros: list[Tensor]) -> StepCall:
    jax: Any = importlib.import_module("jax")
    numpy = jax.numpy
    wx, wh, bx, bh = (numpy.asarray(value.detach().numpy()) for value in core.parameters())
    is_lstm = isinstance(core, nn.LSTM)

    @jax.jit
    def run(x: Any, states: Any) -> Any:
        left, right = x @ wx.T + bx, states[0] @ wh.T + bh
        if is_lstm:
            i, f, g, o = numpy.split(left + right, 4, 1)
            c = jax.nn.sigmoid(f) * states[1] + jax.nn.sigmoid(i) * numpy.tanh(g)
            h = jax.nn.sigmoid(o) * numpy.tanh(c)
            return h, (h, c)
        (xr, xz, xn), (hr, hz, hn) = numpy.split(left, 3, 1), numpy.split(right, 3, 1)
        z = jax.nn.sigmoid(xz + hz)
        h = (1 - z) * numpy.tanh(xn + jax.nn.sigmoid(xr + hr) * hn) + z * states[0]
        return h, (h,)

    held: list[Any] = [tuple(numpy.asarray(zero[0].numpy()) for zero in zeros)]

    def step(x: np.ndarray) -> np.ndarray:
        h, held[0] = run(x[0], held[0])
        return np.asarray(h)[None]

    return step


def cycle(step: StepCall, frames: np.ndarray) -> Callable[[], np.ndarray]:
    """Calls with another frame every time."""
    place = [0]

    def call() -> np.ndarray:
        place[0] = (place[0] + 1) % len(frames)
        return step(frames[place[0]])

    return call


def push_answers(step: StepCall, frames: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: np.concatenate([step(frame)[0].copy() for frame in frames[:CHECKED]])


def measure_pool(folder: Path, turns: int) -> list[Row]:
    """16 streams of an LSTM of 256 in a pool, a stream-step, against one stream alone."""
    torch.manual_seed(0)
    core = nn.LSTM(256, 256, batch_first=True).eval()
    axes = [("batch", "sequence", None)]
    bundle = rnn_edge.export(Whole(core), torch.randn(2, 6, 256), folder / "pool", axes=axes)
    frames = np.random.default_rng(1).standard_normal((64, 1, 1, 256)).astype(np.float32)
    count = 16
    pool = rnn_edge.StreamPool(bundle, max_batch=count)
    numbers = [pool.open() for _ in range(count)]
    alone = rnn_edge.StreamSession(bundle)
    chunks = dict(zip(numbers, frames[:count], strict=True))
    together = Competitor(
        "16 in a pool", lambda: pool.push_many(chunks),
        lambda: pool.push_many(chunks)[numbers[3]][0],
    )  # fmt: skip
    single = Competitor(
        "16 single steps", lambda: [alone.push(frame) for frame in frames[:count]],
        lambda: rnn_edge.StreamSession(bundle).push(frames[3])[0],
    )  # fmt: skip
    with torch.no_grad():
        check([together, single], core(torch.from_numpy(frames[3]))[0].numpy())
    wanted = {(together.name, single.name): 4.0}
    return rows_of("streams", "LSTM 256", [together, single], turns, [together.name], wanted)
