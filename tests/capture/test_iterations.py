"""A loop is taken whole: no iteration of it stands apart, and nothing it is given is refused.

The oracle is the eager module at unseen sizes; a body that is copied behind its loop shows in the
operators of the graph.
"""

from __future__ import annotations

from collections import Counter

import onnx
import onnx_ir
import onnxruntime
import pytest
import torch
from collection.case import EXAMPLE_SIZES, UNSEEN_SIZES, Case, floats
from collection.catalogue import CASES
from torch import Tensor, nn

from rnn_edge.capture.capture import capture
from rnn_edge.capture.rolling.runs import Run, find_runs
from rnn_edge.capture.rolling.steps import without_unused
from rnn_edge.capture.rolling.trace import Place, Source, Step, Trace

F, H = 4, 5
X = floats("batch", "sequence", F)


class CopiedBeforeView(nn.Module):
    """contiguous() of a transposed tensor is no step of its own, and view() needs it."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.across = nn.Linear(2 * F, H), nn.Linear(H, H)

    def forward(self, x: Tensor) -> Tensor:
        twice = torch.cat([x, -x], 2).transpose(0, 1).contiguous().view(-1, 2 * F)
        frames = self.inside(twice).view(x.shape[1], x.shape[0], H)
        h, outputs = x.new_zeros(x.shape[0], H), []
        for t in range(x.shape[1]):
            h = torch.sin(frames[t] + self.across(h))
            outputs.append(h)
        return torch.stack(outputs, 1)


class PartsOfOneWeight(nn.Module):
    """Two invariants of the loop share what they are stored in."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(F + H, H) / 3)

    def forward(self, x: Tensor) -> Tensor:
        inside, across = self.weight.split([F, H])
        h, outputs = x.new_zeros(x.shape[0], H), []
        for t in range(x.shape[1]):
            h = torch.sin(x[:, t] @ inside + h @ across)
            outputs.append(h)
        return torch.stack(outputs, 1)


class FirstStateCollected(nn.Module):
    """Euler's method over given times: what is stacked begins with the state that is given."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Linear(H, H)

    def forward(self, h: Tensor, t: Tensor) -> Tensor:
        states = [h]
        for i in range(t.shape[0] - 1):
            h = h + (t[i + 1] - t[i]) * torch.tanh(self.slope(h))
            states.append(h)
        return torch.stack(states)


class TimeMajorWithState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside, self.across = nn.Linear(F, H), nn.Linear(H, H)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for t in range(x.shape[0]):
            h = torch.sin(self.inside(x[t]) + self.across(h))
            outputs.append(h)
        return torch.stack(outputs), h


def build(case: Case) -> onnx.ModelProto:
    args, kwargs = case.inputs(*EXAMPLE_SIZES)
    found: onnx.ModelProto = onnx_ir.to_proto(
        capture(case.module(), args, kwargs, case.axes()).model
    )
    return found


@pytest.mark.parametrize(
    "case",
    [
        Case(CopiedBeforeView, (X,)),
        Case(PartsOfOneWeight, (X,)),
        Case(FirstStateCollected, (floats("batch", H), floats("sequence"))),
        Case(TimeMajorWithState, (floats("sequence", "batch", F), floats("batch", H))),
    ],
    ids=Case.title,
)
def test_form_equals_eager_torch_at_unseen_sizes(case: Case) -> None:
    model = build(case)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert Counter(node.op_type for node in model.graph.node)["Scan"] == 1
    names = [given.name for given in model.graph.input]
    for batch, steps in [*UNSEEN_SIZES, (1, 1), (2, 2)]:
        tensors = case.tensors(batch, steps)
        feed = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
        for found, expected in zip(session.run(None, feed), case.expect(batch, steps), strict=True):
            assert case.deviation(torch.from_numpy(found), expected) <= case.tolerance


# By case, an operator of the body, which a copy behind the loop would show.
BODIES = {
    "cells-Zoneout": "Sigmoid",
    "cells-TimeMixing": "Exp",
    "loops-MaskedUpdate": "Tanh",
    "memory-StackOfVectors": "Softmax",
    "memory-TuringMachine": "Softmax",
}


@pytest.mark.parametrize("name", BODIES)
def test_last_iteration_does_not_stand_apart(name: str) -> None:
    model = build(CASES[name])
    outside = Counter(node.op_type for node in model.graph.node)
    (scan,) = (node for node in model.graph.node if node.op_type == "Scan")
    (body,) = (attribute.g for attribute in scan.attribute if attribute.name == "body")
    assert BODIES[name] in {node.op_type for node in body.node}
    assert outside[BODIES[name]] == 0
    assert outside["Where"] == 0  # nothing is chosen by how many steps there are


def test_what_no_result_needs_is_left_out() -> None:
    add = torch.ops.aten.add.Tensor
    steps = (
        Step(add, (Source("x"), 1), {}),
        Step(add, (Place(0), 2), {}),
        Step(add, (Place(0), 3), {}),
    )
    found = without_unused(Trace(steps, (Place(2),), {"x": 0}))
    assert found.steps == (steps[0], steps[2])
    assert found.returned == (Place(1),)


def test_repetition_inside_an_iteration_does_not_cut_the_first_one() -> None:
    """h_0 is an input, so that the first iteration differs from the others in its first step."""
    add, mul, tanh = (getattr(torch.ops.aten, name) for name in ("add", "mul", "tanh"))
    steps: list[Step] = []
    state: Place | Source = Source("h")
    for _ in range(5):
        steps.append(Step(add.Tensor, (state, Source("w")), {}))
        first = len(steps) - 1
        steps += [Step(mul.Tensor, (Place(first), gate), {}) for gate in range(4)]
        steps.append(Step(tanh.default, (Place(len(steps) - 1),), {}))
        state = Place(len(steps) - 1)
    trace = Trace(tuple(steps), (state,), {"h": 0, "w": "w"})
    assert find_runs(trace) == [Run(0, 6, 5)]
