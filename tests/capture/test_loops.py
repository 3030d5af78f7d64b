"""Python loops over time become a Scan, in every style, never an unrolled copy.

The oracle is the eager module at lengths that were not traced, 1 among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import rnn_edge

X = ("batch", "sequence", None)
F = 4  # features
H = 5  # hidden size


class Appending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(F, H)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(x.shape[0], H)
        c = torch.zeros_like(h)
        outputs = []
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
            outputs.append(h)
        return torch.stack(outputs, 1), c


class WritingBackwards(nn.Module):
    """Into a preallocated tensor, from the end, with the step's number in the arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(F, H)
        self.across = nn.Linear(H, H, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(0), H)
        out = torch.zeros(x.size(0), x.size(1), H)
        for t in reversed(range(x.shape[1])):
            h = torch.tanh(self.inside(x[:, t]) + self.across(h)) * (t / 10)
            out[:, t] = h
        return out


class IteratingWithoutState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = None, []
        for step in x.unbind(1):
            h = self.cell(step, h)
            outputs.append(h.unsqueeze(1))
        return torch.cat(outputs, 1)


class IteratingATensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNNCell(F, H)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        outputs: list[Tensor] = []
        for step in x.transpose(0, 1):
            h = self.cell(step, h)
            outputs = [*outputs, h]
        return torch.stack(outputs).transpose(0, 1), h


class BothWays(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.forth, self.back = nn.GRUCell(F, H), nn.GRUCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        steps = x.shape[1]
        h = g = torch.zeros(x.shape[0], H)
        forth: list[Tensor] = []
        back: list[Tensor] = [h] * steps
        for t in range(steps):
            h = self.forth(x[:, t], h)
            forth.append(h)
        for t in range(steps - 1, -1, -1):
            g = self.back(x[:, t], g)
            back[t] = g
        return torch.cat([torch.stack(forth, 1), torch.stack(back, 1)], -1)


class CellsOnCells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTMCell(F, H), nn.LSTMCell(H, H)])

    def forward(self, x: Tensor) -> Tensor:
        states = [(x.new_zeros(x.shape[0], H), x.new_zeros(x.shape[0], H)) for _ in self.cells]
        outputs = []
        for t in range(x.shape[1]):
            y = x[:, t]
            for number, cell in enumerate(self.cells):
                states[number] = cell(y, states[number])
                y = states[number][0]
            outputs.append(y)
        return torch.stack(outputs, dim=1)


class LayerAfterLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.GRUCell(F, H), nn.GRUCell(H, H)])

    def forward(self, x: Tensor) -> Tensor:
        steps = list(x.unbind(1))
        for cell in self.cells:
            h = x.new_zeros(x.shape[0], H)
            outputs = []
            for step in steps:
                h = cell(step, h)
                outputs.append(h)
            steps = outputs
        return torch.stack(steps, 1)


class LayerNormLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(F, 4 * H)
        self.across = nn.Linear(H, 4 * H, bias=False)
        self.norm, self.norm_c = nn.LayerNorm(4 * H), nn.LayerNorm(H)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h = c = x.new_zeros(x.shape[0], H)
        gates, outputs = self.inside(x), []
        for t in range(x.size(1)):
            i, f, o, u = self.norm(gates[:, t] + self.across(h)).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(u)
            h = torch.sigmoid(o) * torch.tanh(self.norm_c(c))
            outputs.append(h)
        return torch.stack(outputs, 1), (h, c)


class AttentiveDecoder(nn.Module):
    """A loop over targets with attention over all of an encoder's outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(F, H, batch_first=True)
        self.cell, self.head = nn.GRUCell(3 + H, H), nn.Linear(H, 6)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        encoded, final = self.encoder(source)
        h, outputs = final[0], []
        for t in range(target.shape[1]):
            weights = torch.softmax(torch.bmm(encoded, h.unsqueeze(2)).squeeze(2), 1)
            context = torch.bmm(weights.unsqueeze(1), encoded).squeeze(1)
            h = self.cell(torch.cat([target[:, t], context], -1), h)
            outputs.append(self.head(h))
        return torch.stack(outputs, 1)


class Differences(nn.Module):
    """Looks at the step before."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.across = nn.Linear(F, F), nn.Linear(F, F)

    def forward(self, x: Tensor) -> Tensor:
        before = h = torch.zeros_like(x[:, 0])
        outputs = []
        for t in range(x.shape[1]):
            change = x[:, t] - before
            before = x[:, t]
            h = torch.sigmoid(self.inside(change) + self.across(h)) + x[:, t] / 2
            outputs.append(h)
        return torch.stack(outputs, 1)


class Dilated(nn.Module):
    """Feeds back the state of two steps before."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(F, F)

    def forward(self, x: Tensor) -> Tensor:
        states = [x.new_zeros(x.shape[0], F), x.new_ones(x.shape[0], F)]
        for t in range(x.shape[1]):
            states.append(torch.tanh(self.inside(x[:, t]) + states[-2]))
        return torch.stack(states[2:], 1)


class SRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(F, 3 * F)

    def forward(self, x: Tensor) -> Tensor:
        z, f, r = self.inside(x).chunk(3, -1)
        f, r = f.sigmoid(), r.sigmoid()
        c, out = torch.zeros_like(z[:, 0]), torch.empty_like(z)
        for t in range(x.shape[1]):
            c = f[:, t] * c + (1 - f[:, t]) * z[:, t]
            out[:, t] = r[:, t] * c.tanh() + (1 - r[:, t]) * x[:, t]
        return out


class LastState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(F, H), nn.Linear(H, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(x.shape[0], H)
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
        return self.head(h)


class WithPositions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.positions, self.cell = nn.Parameter(torch.randn(200, F)), nn.GRUCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = torch.zeros(x.shape[0], H), []
        for t in range(x.shape[1]):
            h = self.cell(x[:, t] + self.positions[t], h)
            outputs.append(h)
        return torch.stack(outputs, 1).mean(1)


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(F, H)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        h, outputs = torch.zeros(x.shape[0], H), []
        for t in range(x.shape[1]):
            valid = (t < lengths).unsqueeze(1)
            h = torch.where(valid, self.cell(x[:, t], h), h)
            outputs.append(h * valid)
        return torch.stack(outputs, 1), h


class ResetWhenDone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(F, H)

    def forward(self, x: Tensor, done: Tensor) -> Tensor:
        h = c = torch.zeros(x.shape[0], H)
        outputs = []
        for step, over in zip(x.unbind(1), done.unbind(1), strict=True):
            going = (1 - over).unsqueeze(1)
            h, c = self.cell(step, (h * going, c * going))
            outputs.append(h)
        return torch.stack(outputs, 1)


class ConvLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(F + 3, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, _, height, width = x.shape
        h = c = x.new_zeros(batch, 3, height, width)
        outputs = []
        for t in range(steps):
            i, f, o, g = self.kernel(torch.cat([x[:, t], h], 1)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs, 1)


class StateOfOneRow(nn.Module):
    """A learned state that broadcasts over the batch in the first iteration."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, H))
        self.inside, self.across = nn.Linear(F, H), nn.Linear(H, H)

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = self.start, []
        for t in range(x.shape[1]):
            h = torch.tanh(self.inside(x[:, t]) + self.across(h))
            outputs.append(h)
        return torch.stack(outputs, 1)


class NumbersOfSizes(nn.Module):
    """No loop, but sizes turned into numbers."""

    def forward(self, x: Tensor) -> Tensor:
        count = int(x.shape[1])
        return x.reshape(x.shape[0], count * F) * torch.full((count * F,), 1.5)


MODULES = [
    Appending, WritingBackwards, IteratingWithoutState, IteratingATensor, BothWays, CellsOnCells,
    LayerAfterLayer, LayerNormLSTM, AttentiveDecoder, Differences, Dilated, SRU, LastState,
    WithPositions, Masked, ResetWhenDone, ConvLSTM, StateOfOneRow, NumbersOfSizes,
]  # fmt: skip


def make_inputs(kind: type[nn.Module], batch: int, steps: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(steps)
    x = torch.randn(batch, steps, F, generator=random)
    if kind is AttentiveDecoder:
        return {"source": x, "target": torch.randn(batch, steps + 2, 3, generator=random)}
    if kind is ConvLSTM:
        return {"x": torch.randn(batch, steps, F, 4, 3, generator=random)}
    if kind is IteratingATensor:
        return {"x": x, "h": torch.randn(batch, H, generator=random)}
    if kind is Masked:
        return {"x": x, "lengths": torch.arange(batch) % steps + 1}
    if kind is ResetWhenDone:
        return {"x": x, "done": (torch.rand(batch, steps, generator=random) > 0.7).float()}
    return {"x": x}


AXES = {
    "source": ("batch", "source", None),
    "target": ("batch", "target", None),
    "h": ("batch", None),
    "lengths": ("batch",),
    "done": ("batch", "sequence"),
}


def export(kind: type[nn.Module], folder: Path) -> tuple[nn.Module, rnn_edge.Bundle]:
    torch.manual_seed(0)
    module = kind().eval()
    inputs = make_inputs(kind, 2, 6)
    axes = {name: AXES.get(name, X + (None,) * (t.dim() - 3)) for name, t in inputs.items()}
    return module, rnn_edge.export(module, (), folder, kwargs=inputs, axes=axes)


def flatten(returned: object) -> Iterator[np.ndarray]:
    if isinstance(returned, Tensor):
        yield returned.numpy()
    else:
        for item in returned:  # type: ignore[attr-defined]
            yield from flatten(item)


@pytest.mark.parametrize("kind", MODULES, ids=lambda kind: kind.__name__)
def test_loop_equals_eager_torch_at_other_lengths(kind: type[nn.Module], tmp_path: Path) -> None:
    module, bundle = export(kind, tmp_path / "bundle")
    session = rnn_edge.Session(bundle)
    for batch, steps in ((3, 11), (1, 1), (2, 2), (1, 40)):
        inputs = make_inputs(kind, batch, steps)
        with torch.no_grad():
            expected = list(flatten(module(**inputs)))
        found = session.run({name: tensor.numpy() for name, tensor in inputs.items()})
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("kind", "scans"), [(LayerNormLSTM, 1), (AttentiveDecoder, 1), (ConvLSTM, 1), (Masked, 1)]
)
def test_loop_is_a_scan_and_no_copies(kind: type[nn.Module], scans: int, tmp_path: Path) -> None:
    _, bundle = export(kind, tmp_path / "bundle")
    counts = Counter(node.op_type for node in onnx.load(bundle.graph_path()).graph.node)
    assert counts["Scan"] == scans
    assert not counts.keys() & {"Conv", "Sigmoid", "Tanh"}


def test_loop_that_does_something_else_each_time_is_refused(tmp_path: Path) -> None:
    class Growing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x[:, 0]
            for t in range(x.shape[1]):
                y = y * (t * 7919 % 13)
            return y

    with pytest.raises(rnn_edge.RnnEdgeError, match="by a formula") as caught:
        rnn_edge.export(Growing(), torch.randn(2, 6, F), tmp_path / "bundle", axes=[X])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
