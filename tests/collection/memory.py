"""Modules with memory: external, carried from call to call, or kept on self."""

from __future__ import annotations

import torch
from collection.case import Case, flags, floats, ids
from torch import Tensor, nn
from torch.nn import functional

F, H = 5, 6
X = floats("batch", "sequence", F)


class TuringMachine(nn.Module):
    """Reads and writes a memory of slots by content."""

    start: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.controller = nn.LSTMCell(F + 3, H)
        self.key, self.strength = nn.Linear(H, 3), nn.Linear(H, 1)
        self.erase, self.add = nn.Linear(H, 3), nn.Linear(H, 3)
        self.register_buffer("start", torch.randn(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        batch = x.size(0)
        memory = self.start.unsqueeze(0).repeat(batch, 1, 1)
        h, c, read = x.new_zeros(batch, H), x.new_zeros(batch, H), x.new_zeros(batch, 3)
        outputs = []
        for t in range(x.size(1)):
            h, c = self.controller(torch.cat([x[:, t], read], 1), (h, c))
            likeness = functional.cosine_similarity(memory, self.key(h).unsqueeze(1), dim=-1)
            weights = torch.softmax(functional.softplus(self.strength(h)) * likeness, -1)
            read = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
            erase = weights.unsqueeze(2) * torch.sigmoid(self.erase(h)).unsqueeze(1)
            memory = memory * (1 - erase) + weights.unsqueeze(2) * self.add(h).unsqueeze(1)
            outputs.append(torch.cat([h, read], 1))
        return torch.stack(outputs, 1)


class CarriedState(nn.Module):
    """A language model that takes its state and gives it back."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(20, F), nn.GRU(F, H, 2, batch_first=True)
        self.head = nn.Linear(H, 20)

    def forward(self, words: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.rnn(self.embedding(words), state)
        return self.head(y), state


class KeptOnSelf(nn.Module):
    """Keeps its last state as an attribute; a call starts anew unless told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True)
        self.state: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        y, state = self.rnn(x)
        self.state = (state[0].detach(), state[1].detach())
        return y


class Agent(nn.Module):
    """Actor and critic on one recurrent core, reset where an episode has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.cell = nn.Sequential(nn.Linear(F, H), nn.Tanh()), nn.GRUCell(H + 3, H)
        self.policy, self.value = nn.Linear(H, 3), nn.Linear(H, 1)

    def forward(
        self, x: Tensor, action: Tensor, done: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        features = torch.cat([self.body(x), functional.one_hot(action, 3).float()], -1)
        outputs = []
        for t in range(x.shape[0]):
            h = self.cell(features[t], h * (1 - done[t]).unsqueeze(-1))
            outputs.append(h)
        y = torch.stack(outputs)
        return self.policy(y), self.value(y).squeeze(-1), h


class StackOfVectors(nn.Module):
    """A soft stack of depth four, pushed and popped by degrees."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.action, self.push = nn.GRUCell(F + 3, H), nn.Linear(H, 2), nn.Linear(H, 3)

    def forward(self, x: Tensor) -> Tensor:
        h, stack = x.new_zeros(x.size(0), H), x.new_zeros(x.size(0), 4, 3)
        outputs = []
        for step in x.unbind(1):
            h = self.cell(torch.cat([step, stack[:, 0]], 1), h)
            action = self.action(h).softmax(1)
            pushed = torch.cat([self.push(h).unsqueeze(1), stack[:, :-1]], 1)
            popped = torch.cat([stack[:, 1:], torch.zeros_like(stack[:, :1])], 1)
            stack = action[:, :1, None] * pushed + action[:, 1:, None] * popped
            outputs.append(h)
        return torch.stack(outputs, 1)


class LegendreMemory(nn.Module):
    """A fixed linear memory of the recent past beside a nonlinear state."""

    a: Tensor
    b: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.cell = nn.Linear(F + H, 1), nn.Linear(F + H + 4, H)
        self.register_buffer("a", torch.eye(4) * 0.9 + torch.diag(torch.ones(3) * 0.1, 1))
        self.register_buffer("b", torch.rand(4))

    def forward(self, x: Tensor) -> Tensor:
        h, m = x.new_zeros(x.size(0), H), x.new_zeros(x.size(0), 4)
        outputs = []
        for t in range(x.size(1)):
            u = self.encode(torch.cat([x[:, t], h], -1))
            m = functional.linear(m, self.a) + u * self.b
            h = torch.tanh(self.cell(torch.cat([x[:, t], h, m], -1)))
            outputs.append(h)
        return torch.stack(outputs, 1)


CASES = [
    Case(TuringMachine, (X,)),
    Case(CarriedState, (ids(20, "batch", "sequence"), floats(2, "batch", H))),
    Case(KeptOnSelf, (X,)),
    Case(
        Agent,
        (
            floats("sequence", "batch", F), ids(3, "sequence", "batch"),
            flags("sequence", "batch"), floats("batch", H),
        ),
    ),
    Case(StackOfVectors, (X,)),
    Case(LegendreMemory, (X,)),
]  # fmt: skip
