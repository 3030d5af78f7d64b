"""Loops over time and states in the forms that Python offers beside for, append and stack."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import accumulate
from typing import Any

import torch
from collection.case import Case, floats
from torch import Tensor, nn

F, H = 3, 5
X = floats("batch", "sequence", F)


class Stepwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(F, H), nn.Linear(H, 2)

    def step(self, h: Tensor, frame: Tensor) -> Tensor:
        return self.cell(frame, h)


class ReducedStates(Stepwise):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(reduce(self.step, x.unbind(1), x.new_zeros(len(x), H)))


class AccumulatedStates(Stepwise):
    def forward(self, x: Tensor) -> Tensor:
        states = accumulate(x.unbind(1), self.step, initial=x.new_zeros(len(x), H))
        return self.head(torch.stack(list(states)[1:], 1))


class CallsItself(Stepwise):
    """One step, and the rest of the sequence by the same function."""

    def run(self, x: Tensor, h: Tensor, place: int) -> Tensor:
        if place == x.size(1):
            return h
        return self.run(x, self.step(h, x[:, place]), place + 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.run(x, x.new_zeros(len(x), H), 0))


class YieldedStates(Stepwise):
    def states(self, x: Tensor) -> Iterator[Tensor]:
        h = x.new_zeros(len(x), H)
        for place in range(x.shape[1]):
            h = self.step(h, x[:, place])
            yield h

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.stack([*self.states(x)], dim=1))


class MappedSteps(Stepwise):
    """A function of one frame that keeps the state outside of itself."""

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), H)

        def answer(frame: Tensor) -> Tensor:
            nonlocal h
            h = self.step(h, frame)
            return self.head(h)

        return torch.stack(list(map(answer, x.unbind(1))), 1)


class LastThreeStates(Stepwise):
    """The mean of the last three states feeds the next step; a deque drops the oldest."""

    def forward(self, x: Tensor) -> Tensor:
        past = deque([x.new_zeros(len(x), H)] * 3, maxlen=3)
        states = []
        for frame in x.unbind(1):
            h = self.step(sum(past, torch.zeros(())) / 3, frame)
            past.append(h)
            states.append(h)
        return self.head(torch.stack(states, 1))


@dataclass
class Beliefs:
    h: Tensor
    history: list[Tensor] = field(default_factory=list)


class StateInDataclass(Stepwise):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        beliefs = Beliefs(x.new_zeros(len(x), H))
        for frame in x.unbind(1):
            beliefs.h = self.step(beliefs.h, frame)
            beliefs.history += [beliefs.h]
        return {"y": self.head(torch.stack(beliefs.history, 1)), "h": beliefs.h}


class Heaviside(torch.autograd.Function):
    """Spikes forward, the identity's gradient backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class Spiking(Stepwise):
    def forward(self, x: Tensor) -> Tensor:
        h, spikes = x.new_zeros(len(x), H), []
        for frame in x.unbind(1):
            h = self.step(h * (1 - Heaviside.apply(h - 0.2)), frame)
            spikes.append(Heaviside.apply(h))
        return self.head(torch.stack(spikes, 1))


class SeenByHook(nn.Module):
    """The head reads what a hook has kept of the layer's call."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(F, H, batch_first=True), nn.Linear(H, 2)
        self.seen: dict[str, Tensor] = {}
        self.rnn.register_forward_hook(lambda module, given, answer: self.seen.update(y=answer[0]))

    def forward(self, x: Tensor) -> Tensor:
        self.rnn(x)
        return self.head(self.seen["y"])


CASES = [
    Case(ReducedStates, (X,)),
    Case(AccumulatedStates, (X,)),
    Case(CallsItself, (X,)),
    Case(YieldedStates, (X,)),
    Case(MappedSteps, (X,)),
    Case(LastThreeStates, (X,)),
    Case(StateInDataclass, (X,)),
    Case(Spiking, (X,)),
    Case(SeenByHook, (X,)),
]
