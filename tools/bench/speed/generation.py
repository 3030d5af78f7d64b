"""A character model that writes: the loop in the graph, in Python, and in eager torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.contract import CharacterFrontEnd, NextCharacterDecoder
from speed.peers import export_stock, onednn
from speed.steps import CELLS
from speed.turns import Competitor, Row, WrongAnswerError, check, rows_of

# As many as generate.onnx writes if it is not told.
VOCABULARY, LENGTH = 100, 200
GRAPH, GRAPH8 = "generate.onnx", "generate.onnx, int8"
# A loop in Python over session.run of what torch.onnx.export writes, and of our stream.onnx.
STOCK_LOOP, STREAM_LOOP = "Python loop, torch.onnx.export", "Python loop, stream.onnx"
# Of a log-probability, as far as both write the same.
_NEAR8 = 0.5


class Characters(nn.Module):
    def __init__(self, cell: str, hidden: int, embedding: int) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, embedding)
        self.core = CELLS[cell](embedding, hidden, batch_first=True)
        self.head = nn.Linear(hidden, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.core(self.table(tokens))[0])
        return logits

    def step(self, tokens: Tensor, states: Any) -> Any:
        y, after = self.core(self.table(tokens), states)
        return self.head(y), after


class Step(nn.Module):
    """One character and the states: what is exported for a loop outside the graph."""

    def __init__(self, module: Characters) -> None:
        super().__init__()
        self.module = module

    def forward(self, tokens: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        logits, after = self.module.step(tokens, states if len(states) > 1 else states[0])
        return (logits, *(after if isinstance(after, tuple) else (after,)))


def measure_generation(
    cell: str, hidden: int, embedding: int, folder: Path, turns: int
) -> list[Row]:
    """Rows of LENGTH characters, the likeliest every time, one prompt of one character."""
    torch.manual_seed(0)
    module = Characters(cell, hidden, embedding).eval()
    with torch.no_grad():
        # Sharper than a fresh head, so that no two characters are nearly as likely.
        module.head.weight *= 8
    names = tuple(chr(33 + n) for n in range(VOCABULARY))
    bundle = rnn_edge.export(
        module,
        torch.randint(VOCABULARY, (2, 6)),
        folder / "bundle",
        axes=[("batch", "sequence")],
        front_end=CharacterFrontEnd(names, unknown=0, padding=0),
        decoder=NextCharacterDecoder(()),
    )
    if "generate" not in bundle.contract.graphs:
        raise WrongAnswerError(str(bundle.evidence["generate"]))
    generate = rnn_edge.Session(bundle, graph="generate")
    feed = generate.fill(
        {
            "tokens": np.array([[5]]),
            "lengths": np.array([1]),
            "max_new": np.array(LENGTH),
            "temperature": np.array(0, np.float32),
        }
    )
    small = rnn_edge.Session(
        rnn_edge.quantize(bundle, folder / "int8", max_drop=0.1).bundle, graph="generate"
    )
    truth = _eager(module, False)
    _check_near(generate.run_named(feed), small.run_named(feed))
    competitors = [
        # Its own answer was held to the float32 one above: one id that differs changes all after.
        Competitor(GRAPH8, lambda: small.run_named(feed)["generated"][0], lambda: truth),
        _plain(GRAPH, lambda: generate.run_named(feed)["generated"][0]),
        _plain(STOCK_LOOP, _stock_loop(module, folder / "stock.onnx")),
        _plain(STREAM_LOOP, _stream_loop(bundle)),
        *(
            _plain("torch" if enabled else "torch, no oneDNN", lambda e=enabled: _eager(module, e))
            for enabled in (True, False)
        ),
    ]
    check(competitors, truth)
    wanted = {
        **{(GRAPH8, loop): 3.2 for loop in (STOCK_LOOP, STREAM_LOOP)},
        **{(GRAPH, loop): 1.8 for loop in (STOCK_LOOP, STREAM_LOOP)},
        (GRAPH, "torch"): 7.0,
        (GRAPH, "torch, no oneDNN"): 7.0,
    }
    case = f"{cell} {hidden}, embeddings of {embedding}, greedy"
    return rows_of("generation", case, competitors, turns, [GRAPH, GRAPH8], wanted)


def _check_near(found: Mapping[str, np.ndarray], small: Mapping[str, np.ndarray]) -> None:
    """Raise WrongAnswerError unless the log-probabilities agree up to the first other id."""
    same = np.logical_and.accumulate(found["generated"] == small["generated"], axis=1)
    errors = np.abs(found["log_probabilities"] - small["log_probabilities"])[same]
    if not errors.size or errors.max() > _NEAR8:
        raise WrongAnswerError(f"{GRAPH8} is off by {errors.max(initial=0):.2g}")


def _stock_loop(module: Characters, path: Path) -> Callable[[], np.ndarray]:
    states = 2 if isinstance(module.core, nn.LSTM) else 1
    zeros = [torch.zeros(1, 1, module.core.hidden_size) for _ in range(states)]
    names = [f"state{place}" for place in range(len(zeros))]
    session = export_stock(
        Step(module), (torch.tensor([[5]]), *zeros), path,
        input_names=["tokens", *names], output_names=["logits", *(f"{n}_after" for n in names)],
    )  # fmt: skip

    def write() -> np.ndarray:
        feed = dict(zip(names, (zero.numpy() for zero in zeros), strict=True))
        feed["tokens"] = np.array([[5]])
        found = []
        for _ in range(LENGTH):
            logits, *states = session.run(None, feed)
            found.append(int(logits[0, -1].argmax()))
            feed = dict(zip(names, states, strict=True))
            feed["tokens"] = np.array([[found[-1]]])
        return np.array(found)

    return write


def _stream_loop(bundle: rnn_edge.Bundle) -> Callable[[], np.ndarray]:
    session, contract = rnn_edge.Session(bundle, graph="stream"), bundle.graph("stream")
    reset = None if contract.stream is None else contract.stream.reset
    names = [spec.name for spec in contract.outputs]

    def write() -> np.ndarray:
        feed = session.fill({"tokens": np.array([[5]])})
        found = []
        for turn in range(LENGTH):
            if reset is not None:
                feed[reset] = np.array([turn == 0])
            outputs = dict(zip(names, session.native.run(None, feed), strict=True))
            found.append(int(outputs[names[0]][0, -1].argmax()))
            feed = {pair.input: outputs[pair.output] for pair in contract.states}
            feed["tokens"] = np.array([[found[-1]]])
        return np.array(found)

    return write


def _eager(module: Characters, enabled: bool) -> np.ndarray:
    found = []
    with torch.inference_mode(), onednn(enabled):
        states: Any = torch.zeros(1, 1, module.core.hidden_size)
        states = (states, states.clone()) if isinstance(module.core, nn.LSTM) else states
        token = torch.tensor([[5]])
        for _ in range(LENGTH):
            logits, states = module.step(token, states)
            token = logits[:, -1:].argmax(-1)
            found.append(int(token))
    return np.array(found)


def _plain(name: str, call: Any) -> Competitor:
    return Competitor(name, call, call, 0.0)
