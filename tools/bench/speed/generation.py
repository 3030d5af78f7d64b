"""A character model that writes: the loop in the graph, in Python, and in eager torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.contract import CharacterFrontEnd, NextCharacterDecoder
from speed.peers import onednn
from speed.steps import CELLS
from speed.turns import Competitor, Row, WrongAnswerError, check, rows_of

VOCABULARY, LENGTH = 100, 100
GRAPH, GRAPH8, LOOP = "generate.onnx", "generate.onnx, int8", "Python loop over session.run"
# Of a log-probability, as far as both write the same.
_NEAR8 = 0.5


class Characters(nn.Module):
    def __init__(self, cell: str, hidden: int) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, 64)
        self.core = CELLS[cell](64, hidden, batch_first=True)
        self.head = nn.Linear(hidden, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.core(self.table(tokens))[0])
        return logits

    def step(self, tokens: Tensor, states: Any) -> Any:
        y, after = self.core(self.table(tokens), states)
        return self.head(y), after


def measure_generation(cell: str, hidden: int, folder: Path, turns: int) -> list[Row]:
    """Rows of 100 characters, the likeliest every time, one prompt of one character."""
    torch.manual_seed(0)
    module = Characters(cell, hidden).eval()
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
        _plain(LOOP, lambda: _loop(bundle)),
        *(
            _plain("torch" if enabled else "torch, no oneDNN", lambda e=enabled: _eager(module, e))
            for enabled in (True, False)
        ),
    ]
    check(competitors, truth)
    wanted = {
        (GRAPH8, LOOP): 3.2,
        (GRAPH, LOOP): 1.8,
        (GRAPH, "torch"): 7.0,
        (GRAPH, "torch, no oneDNN"): 7.0,
    }
    case = f"{cell} {hidden}, greedy"
    return rows_of("generation", case, competitors, turns, [GRAPH, GRAPH8], wanted)


def _check_near(found: Mapping[str, np.ndarray], small: Mapping[str, np.ndarray]) -> None:
    """Raise WrongAnswerError unless the log-probabilities agree up to the first other id."""
    same = np.logical_and.accumulate(found["generated"] == small["generated"], axis=1)
    errors = np.abs(found["log_probabilities"] - small["log_probabilities"])[same]
    if not errors.size or errors.max() > _NEAR8:
        raise WrongAnswerError(f"{GRAPH8} is off by {errors.max(initial=0):.2g}")


def _loop(bundle: rnn_edge.Bundle) -> np.ndarray:
    session, contract = _stream(bundle)
    feed = session.fill({"tokens": np.array([[5]])})
    if contract.stream is not None and contract.stream.reset is not None:
        feed[contract.stream.reset] = np.array([True])
    names = [spec.name for spec in contract.outputs]
    found = []
    for _ in range(LENGTH):
        outputs = dict(zip(names, session.native.run(None, feed), strict=True))
        choice = int(outputs[names[0]][0, -1].argmax())
        found.append(choice)
        feed = {pair.input: outputs[pair.output] for pair in contract.states}
        feed["tokens"] = np.array([[choice]])
        if contract.stream is not None and contract.stream.reset is not None:
            feed[contract.stream.reset] = np.array([False])
    return np.array(found)


_STREAMS: dict[Path, Any] = {}


def _stream(bundle: rnn_edge.Bundle) -> Any:
    if bundle.path not in _STREAMS:
        _STREAMS[bundle.path] = (rnn_edge.Session(bundle, graph="stream"), bundle.graph("stream"))
    return _STREAMS[bundle.path]


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
