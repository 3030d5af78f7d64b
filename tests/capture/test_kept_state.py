"""State that a module keeps on itself becomes inputs and outputs; calls in a row are the judge."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.cli.main import program

F, H = 3, 4


class Attributes(nn.Module):
    """Two attributes, made where there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.LSTM(F, H, batch_first=True)
        self.h: Tensor | None = None
        self.c: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.h is None or self.c is None:
            self.h = x.new_zeros(1, x.size(0), H)
            self.c = torch.zeros(1, x.size(0), H, dtype=x.dtype)
        y, (h, c) = self.core(x, (self.h, self.c))
        self.h, self.c = h.detach(), c.detach()
        return y


class HiddenTuple(nn.Module):
    """None is given to the layer at first; the name is private."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.LSTM(F, H, 2, batch_first=True)
        self._hidden: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        y, self._hidden = self.core(x, self._hidden)
        return y


class StartsFromOnes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core, self.h = nn.GRU(F, H, batch_first=True), None

    def forward(self, x: Tensor) -> Tensor:
        if self.h is None:
            self.h = x.new_ones(1, x.size(0), H)
        y, self.h = self.core(x, self.h)
        return y


class BufferInPlace(nn.Module):
    """A buffer of fixed size, written into."""

    state: Tensor

    def __init__(self, batch: int = 2) -> None:
        super().__init__()
        self.core = nn.GRU(F, H, batch_first=True)
        self.register_buffer("state", torch.zeros(1, batch, H))

    def forward(self, x: Tensor) -> Tensor:
        y, h = self.core(x, self.state)
        self.state.copy_(h)
        return y


class BufferInSlices(BufferInPlace):
    def forward(self, x: Tensor) -> Tensor:
        y, h = self.core(x, self.state)
        self.state[:] = h
        return y


class ListOfCells(nn.Module):
    """A Python loop over two cells, whose states are items of a list."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTMCell(F, H), nn.GRUCell(H, H)])
        self.states: list[Any] = [None, None]

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for t in range(x.size(1)):
            self.states[0] = self.cells[0](x[:, t], self.states[0])
            self.states[1] = self.cells[1](self.states[0][0], self.states[1])
            outputs.append(self.states[1])
        return torch.stack(outputs, 1)


class CausalConvolution(nn.Module):
    """The end of each chunk is kept for the next; the count of calls is never read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.cache, self.calls = nn.Conv1d(F, H, 3), None, 0

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        if self.cache is None:
            self.cache = x.new_zeros(x.size(0), F, 2)
        x = torch.cat([self.cache, x], 2)
        self.cache = x[:, :, -2:]
        self.calls += 1
        return self.conv(x).transpose(1, 2)


class StatefulPart(nn.Module):
    """State of a part, a dict, a flag, and a history that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = Attributes(), nn.Linear(H, 2)
        self.memory: dict[str, Tensor] = {}
        self.started, self.history = False, []

    def forward(self, x: Tensor) -> Tensor:
        y = self.encoder(x)
        if not self.started:
            self.memory["mean"], self.started = x.new_zeros(x.size(0), H), True
        self.memory["mean"] = 0.5 * self.memory["mean"] + y.mean(1)
        self.history.append(y)
        return self.head(y + self.memory["mean"].unsqueeze(1))


class ResetByBatch(nn.Module):
    """Starts anew where the batch is another one."""

    def __init__(self) -> None:
        super().__init__()
        self.core, self.h = nn.GRU(F, H, batch_first=True), torch.zeros(1, 1, H)

    def forward(self, x: Tensor) -> Tensor:
        if self.h.shape[1] != x.shape[0]:
            self.h = x.new_zeros(1, x.size(0), H)
        y, self.h = self.core(x, self.h)
        return y


class CountedInTensor(nn.Module):
    """One number for all rows."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(F, H, batch_first=True)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return self.core(x)[0] / self.seen


def export(module: nn.Module, folder: Path, batch: int = 2, **options: Any) -> rnn_edge.Bundle:
    x = torch.randn(batch, 6, F, generator=torch.Generator().manual_seed(1))
    return rnn_edge.export(
        module, x, folder / "bundle", axes=[("batch", "sequence", None)], **options
    )


def carry(bundle: rnn_edge.Bundle, chunks: list[Tensor]) -> list[Tensor]:
    """The first output of each call, with the states carried by the contract alone."""
    session, states, outputs = rnn_edge.Session(bundle), {}, []
    for chunk in chunks:
        found = session.run_named({"x": chunk.numpy(), **states})
        states = {pair.input: found[pair.output] for pair in bundle.graph().states}
        outputs.append(torch.from_numpy(next(iter(found.values()))))
    return outputs


class StartsAnewForAnotherBatch(nn.Module):
    """As voice activity detectors do: numbers beside the state say when it is another stream."""

    def __init__(self) -> None:
        super().__init__()
        self.core, self.rate = nn.GRU(F, H, batch_first=True), 16000
        self.reset()

    def reset(self) -> None:
        self._state, self._last_rate, self._last_batch = torch.zeros(0), 0, 0

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        if self._last_rate and self._last_rate != self.rate:
            self.reset()
        if self._last_batch and self._last_batch != batch:
            self.reset()
        if not len(self._state):
            self._state = torch.zeros(1, batch, H)
        y, self._state = self.core(x, self._state)
        self._last_rate, self._last_batch = self.rate, batch
        return y


CASES: list[tuple[Callable[[], nn.Module], dict[str, list[Any]]]] = [
    (Attributes, {"h": [1, "batch", H], "c": [1, "batch", H]}),
    (HiddenTuple, {"_hidden_0": [2, "batch", H], "_hidden_1": [2, "batch", H]}),
    (StartsFromOnes, {"h": [1, "batch", H]}),
    (
        ListOfCells,
        {name: ["batch", H] for name in ("states_0_0", "states_0_1", "states_1")},
    ),
    (CausalConvolution, {"cache": ["batch", F, 2]}),
    (
        StatefulPart,
        {"memory_mean": ["batch", H], "encoder.h": [1, "batch", H], "encoder.c": [1, "batch", H]},
    ),
    (ResetByBatch, {"h": [1, "batch", H]}),
    (StartsAnewForAnotherBatch, {"_state": [1, "batch", H]}),
    (CountedInTensor, {"seen": []}),
]


@pytest.mark.parametrize(("make", "states"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_calls_in_a_row_equal_the_module_that_keeps_its_state(
    make: Callable[[], nn.Module], states: dict[str, list[Any]], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = make().eval()
    bundle = export(module, tmp_path)
    graph = bundle.graph()
    assert {pair.input: list(graph.input(pair.input).dims) for pair in graph.states} == states
    assert [pair.output for pair in graph.states] == [f"{name}_n" for name in states]
    for batch in (1, 3):
        chunks = [torch.randn(batch, steps, F) for steps in (4, 1, 7)]
        eager = copy.deepcopy(module)
        with torch.no_grad():
            expected = [eager(chunk) for chunk in chunks]
        for found, wanted in zip(carry(bundle, chunks), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [BufferInPlace, BufferInSlices])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_buffer_of_fixed_size_serves_any_batch(
    kind: type[BufferInPlace], size: int, tmp_path: Path
) -> None:
    """Batch 4 is the hidden size too: only one of both axes is the batch."""
    torch.manual_seed(0)
    module = kind(size)
    bundle = export(module, tmp_path, size)
    assert bundle.graph().input("state").dims == (1, "batch", H)
    assert not module.state.any()
    for batch in (1, 3):
        chunks = [torch.randn(batch, steps, F) for steps in (4, 1)]
        core, states, expected = module.core, torch.zeros(1, batch, H), []
        for chunk in chunks:
            y, states = core(chunk, states)
            expected.append(y.detach())
        for found, wanted in zip(carry(bundle, chunks), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_module_is_as_it_was(tmp_path: Path) -> None:
    module = StatefulPart()
    export(module, tmp_path)
    assert module.encoder.h is None
    assert module.encoder.c is None
    assert (module.memory, module.started, module.history) == ({}, False, [])


def test_what_no_answer_depends_on_is_no_state(tmp_path: Path) -> None:
    class LeavesState(HiddenTuple):
        def forward(self, x: Tensor) -> Tensor:
            y, self._hidden = self.core(x)
            return y

    module = LeavesState()
    assert export(module, tmp_path).graph().states == ()
    assert module._hidden is None


def test_names_of_outputs_are_those_of_forward_alone(tmp_path: Path) -> None:
    graph = export(Attributes(), tmp_path, output_names=["y"]).graph()
    assert [spec.name for spec in graph.outputs] == ["y", "h_n", "c_n"]


def test_verify_against_the_module_and_inspect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = StatefulPart()
    bundle = export(module, tmp_path)
    assert rnn_edge.verify(bundle, module).worst_ratio <= 1
    program(["inspect", str(bundle.path)], standalone_mode=False)
    assert "state: encoder.h_n of the call before, at first 0" in capsys.readouterr().out


class CountsInPython(Attributes):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * self.calls


class RemembersHowLoud(Attributes):
    """A number that equal calls leave alone, and other values do not."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x) * (2 if self.peak > 3 else 1)
        self.peak = int(3 * x.abs().max())
        return y


class RunsInTwoWays(Attributes):
    """The first call does something that no later one does."""

    def __init__(self) -> None:
        super().__init__()
        self.started = False

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if not self.started:
            self.started, y = True, y + 1
        return y


class Grows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.past = torch.zeros(2, 0, F)

    def forward(self, x: Tensor) -> Tensor:
        self.past = torch.cat([self.past, x], 1)
        return self.past.mean(1)


class StartsAtRandom(StartsFromOnes):
    def forward(self, x: Tensor) -> Tensor:
        if self.h is None:
            self.h = torch.linspace(0, 1, H).expand(1, x.size(0), H)
        return super().forward(x)


class LeftFromTraining(Attributes):
    def __init__(self) -> None:
        super().__init__()
        self(torch.randn(2, 5, F))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (CountsInPython, r"must be tensors of one size to be exported, self\.calls is not"),
        (RemembersHowLoud, r"must be tensors of one size to be exported, self\.peak is not"),
        (RunsInTwoWays, r"must start a sequence from h = 0, c = 0 "),
        (
            Grows,
            r"self\.past grows with every call, from \[2, 6, 3\] to \[2, 12, 3\]\. Keep the last",
        ),
        (StartsAtRandom, r"must start a sequence from h = 0 "),
        (LeftFromTraining, r"self\.h must hold one number everywhere .* Reset it before"),
    ],
)
def test_what_cannot_be_carried_is_refused(
    make: Callable[[], nn.Module], message: str, tmp_path: Path
) -> None:
    with pytest.raises(rnn_edge.RnnEdgeError, match=message):
        export(make(), tmp_path)
    assert list(tmp_path.iterdir()) == []
