"""What `rnn-edge quantize` makes of a layer, beside its own float32 and OpenVINO's bf16."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import rnn_edge
from speed.peers import export_stock, fill_and_infer, installed, open_openvino
from speed.sequences import RUN, STEPS
from speed.steps import CELLS, CHECKED, PUSH, STOCK, Step, StepCall, Whole, cycle, push_answers
from speed.turns import Competitor, Row, check, rows_of

PUSH8, RUN8 = "push, int8", "Session.run, int8"
BF16 = "openvino bf16"
# Of the largest value: what weights and activations of 8 bits may lose.
ERROR8 = 0.1
_WANTED = {("LSTM", 256): 2.7, ("LSTM", 512): 2.7, ("GRU", 512): 2.5}


def measure_quantised(cell: str, hidden: int, folder: Path, turns: int) -> Iterator[list[Row]]:
    """Rows of one step, and of sequences of 100 steps in batches of 1, 8 and 32."""
    torch.manual_seed(0)
    core = CELLS[cell](hidden, hidden, batch_first=True).eval()
    bundle = rnn_edge.export(
        Whole(core), torch.randn(2, 6, hidden), folder / "float", axes=[("batch", "sequence", None)]
    )
    # The errors are told by the quantised bundle; here they are held to ERROR8.
    small = rnn_edge.quantize(bundle, folder / "int8", max_drop=ERROR8).bundle
    yield _measure_step(cell, hidden, (bundle, small), core, folder, turns)
    for batch in (1, 8, 32):
        yield _measure_sequence(cell, core, batch, (bundle, small), folder, max(turns // 5, 5))


Bundles = tuple[rnn_edge.Bundle, rnn_edge.Bundle]


def _measure_step(
    cell: str, hidden: int, bundles: Bundles, core: torch.nn.RNNBase, folder: Path, turns: int
) -> list[Row]:
    frames = np.random.default_rng(1).standard_normal((64, 1, 1, hidden)).astype(np.float32)
    with torch.no_grad():
        truth = core(torch.from_numpy(frames[:CHECKED, 0].reshape(1, CHECKED, hidden)))[0][0]
    competitors = [
        Competitor(name, cycle(_push(each), frames), push_answers(_push(each), frames), error)
        for name, each, error in zip((PUSH8, PUSH), bundles[::-1], (ERROR8, 1e-4), strict=True)
    ]
    states = 2 if isinstance(core, torch.nn.LSTM) else 1
    zeros = [torch.zeros(1, 1, hidden) for _ in range(states)]
    names = [f"s{n}" for n in range(states)]
    stock = export_stock(
        Step(core), (torch.randn(1, 1, hidden), *zeros), folder / f"{hidden}-step.onnx",
        input_names=["x", *names], output_names=["y", *(f"{name}n" for name in names)],
    )  # fmt: skip
    feed = dict(zip(names, (zero.numpy() for zero in zeros), strict=True))
    held = [dict(feed), dict(feed)]

    def step(held: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        y, *after = stock.run(None, {"x": x, **held})
        held.update(zip(names, after, strict=True))
        found: np.ndarray = y
        return found

    competitors.append(
        Competitor(
            STOCK,
            cycle(lambda x: step(held[0], x), frames),
            push_answers(lambda x: step(held[1], x), frames),
        )
    )
    check(competitors, truth.numpy())
    asked = _WANTED.get((cell, hidden))
    wanted = {} if asked is None else {(PUSH8, PUSH): asked}
    return rows_of("int8", f"{cell} {hidden}, one step", competitors, turns, [PUSH8], wanted)


def _push(bundle: rnn_edge.Bundle) -> StepCall:
    stream = rnn_edge.StreamSession(bundle)
    return lambda x: stream.push(x)[0]


def _measure_sequence(
    cell: str, core: torch.nn.RNNBase, batch: int, bundles: Bundles, folder: Path, turns: int
) -> list[Row]:
    hidden = core.hidden_size
    x = torch.randn(batch, STEPS, hidden)
    array = x.numpy()
    sessions = [rnn_edge.Session(bundle) for bundle in bundles]
    run = [lambda session=session: session.run(array)[0] for session in sessions]
    competitors = [
        Competitor(RUN8, run[1], run[1], ERROR8), Competitor(RUN, run[0], run[0]),
    ]  # fmt: skip
    if installed("openvino"):
        path = folder / f"{batch}.onnx"
        export_stock(Whole(core), (x,), path, input_names=["x"])
        infer = fill_and_infer(open_openvino(path, "bf16"), array)
        competitors.append(Competitor(BF16, infer, infer, 3e-2))
    with torch.no_grad():
        check(competitors, core(x)[0].numpy())
    wanted = {(RUN8, BF16): 1.5} if cell == "LSTM" else {}
    case = f"{cell} {hidden}, batch {batch}"
    return rows_of("int8", case, competitors, turns, [RUN8], wanted)
