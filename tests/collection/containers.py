"""Arguments and results in all kinds of containers, and weights as training left them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from collection.case import Case, floats, lengths_of
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

F, H = 5, 6
X = floats("batch", "sequence", F)
STATE = floats(1, "batch", H)


class Tagged(NamedTuple):
    logits: Tensor
    state: Tensor


class DictOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(F, H, batch_first=True), nn.Linear(H, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y, (h, c) = self.rnn(x)
        return {"logits": self.head(y), "hidden": h, "cell": c}


class NamedTupleOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(F, H, batch_first=True), nn.Linear(H, 2)

    def forward(self, x: Tensor) -> Tagged:
        y, h = self.rnn(x)
        return Tagged(self.head(y), h)


class NestedOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LSTM(F, H, batch_first=True), nn.LSTM(H, H, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        y, one = self.first(x)
        y, two = self.second(y)
        return y, [one, two]


class OptionalState(nn.Module):
    """The state may be left out, and is, or is given."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, batch_first=True)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if state is None:
            state = torch.ones(1, x.size(0), H, dtype=x.dtype)
        return self.rnn(x, state)


class DictInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.static = nn.GRU(F + 2, H, batch_first=True), nn.Linear(3, 2)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        static = self.static(batch["static"]).unsqueeze(1).expand(-1, batch["series"].size(1), -1)
        return self.rnn(torch.cat([batch["series"], static], -1))[0]


class KeywordOptions(nn.Module):
    """Keyword-only options that are no tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, *, reduce: str = "none", scale: float = 1.0) -> Tensor:
        y, _ = self.rnn(x)
        return scale * {"none": y, "mean": y.mean(1), "last": y[:, -1]}[reduce]


class StatesOfLayers(nn.Module):
    """A list of states, one a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.GRU(F, H, batch_first=True), nn.GRU(H, H, batch_first=True)]
        )

    def forward(self, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        finals = []
        for layer, state in zip(self.layers, states, strict=True):
            x, final = layer(x, state)
            finals.append(final)
        return x, finals


class WeightNormalized(nn.Module):
    """Weights made anew from a direction and a length at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = weight_norm(nn.LSTM(F, H, batch_first=True), "weight_hh_l0")
        self.head = weight_norm(nn.Linear(H, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


class TiedHead(nn.Module):
    """Output weights are the embedding's; several outputs share one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.heads = nn.LSTM(F, H, batch_first=True), nn.Linear(H, F)
        self.heads.weight = nn.Parameter(torch.randn(F, H))
        self.back = nn.Linear(F, H, bias=False)
        self.back.weight = nn.Parameter(self.heads.weight.data.t().contiguous())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.rnn(x)[0]
        logits = self.heads(y)
        return logits, self.back(logits), y


class MaskAndCount(nn.Module):
    """Integer and boolean results beside floating-point ones."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(F, H, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, _ = self.rnn(x)
        mask = torch.arange(x.size(1)) < lengths.unsqueeze(1)
        return y.argmax(-1), mask, (y.sum(-1) > 0).logical_and(mask).sum(1)


CASES = [
    Case(DictOutput, (X,)),
    Case(NamedTupleOutput, (X,)),
    Case(NestedOutput, (X,)),
    Case(OptionalState, (X,), name="optional_state_absent"),
    Case(OptionalState, (X,), {"state": STATE}, name="optional_state_given"),
    Case(DictInput, ({"series": X, "static": floats("batch", 3)},)),
    Case(KeywordOptions, (X,), {"reduce": "mean", "scale": 2.0}),
    Case(StatesOfLayers, (X, [STATE, STATE])),
    Case(WeightNormalized, (X,)),
    Case(TiedHead, (X,)),
    Case(MaskAndCount, (X, lengths_of("sequence", "batch"))),
]
