"""torch's own recurrent layers with each of their options."""

from __future__ import annotations

import torch
from collection.case import Case, floats
from torch import Tensor, nn

F, H = 5, 6
X = floats("batch", "sequence", F)
TIME_MAJOR = floats("sequence", "batch", F)


class LastStep(nn.Module):
    """A classifier on the last step of a time-major sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.RNN(F, H), nn.Linear(H, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][-1])


class BothFinalStates(nn.Module):
    """The final states of both directions of the last layer, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        _, h = self.rnn(x)
        return torch.cat([h[-2], h[-1]], 1)


class LearnedState(nn.Module):
    """The state before the first step is a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, batch_first=True)
        self.h0 = nn.Parameter(torch.randn(1, 1, H))
        self.c0 = nn.Parameter(torch.randn(1, 1, H))

    def forward(self, x: Tensor) -> Tensor:
        batch = x.size(0)
        state = (self.h0.repeat(1, batch, 1), self.c0.expand(-1, batch, -1).contiguous())
        return self.rnn(x, state)[0]


class MirroredRows(nn.Module):
    """Each sequence and its negative, as rows of their own in one batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.rnn(torch.cat([x, -x]))[0].chunk(2)
        return one + other


class ContextState(nn.Module):
    """The state before the first step is computed from a context vector."""

    def __init__(self) -> None:
        super().__init__()
        self.bridge, self.rnn = nn.Linear(4, 2 * H), nn.GRU(F, H, num_layers=2, batch_first=True)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h0 = torch.tanh(self.bridge(context)).view(-1, 2, H).transpose(0, 1).contiguous()
        return self.rnn(x, h0)[0]


class ZeroState(nn.Module):
    """Zero states made by hand, as many tutorials do."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h0 = torch.zeros(2, x.size(0), H, device=x.device)
        return self.rnn(x, (h0, torch.zeros_like(h0)))[0][:, -1, :]


class StackWithNorms(nn.Module):
    """Layers of different kinds with LayerNorm, dropout and a residual path between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(F, H, batch_first=True, bidirectional=True)
        self.second = nn.GRU(2 * H, 2 * H, batch_first=True)
        self.norm, self.drop = nn.LayerNorm(2 * H), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.norm(self.first(x)[0]))
        return y + self.second(y)[0]


class CellStateOnly(nn.Module):
    """Only c_n is used."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(F, H, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[1][1].transpose(0, 1).flatten(1)


def _lstm_double() -> nn.Module:
    return nn.LSTM(F, H, num_layers=2, batch_first=True).double()


def _gru_double() -> nn.Module:
    return nn.GRU(F, H, bidirectional=True, batch_first=True).double()


def _lstm_half() -> nn.Module:
    return nn.LSTM(F, H, batch_first=True).half()


CASES = [
    Case(lambda: nn.RNN(F, H, batch_first=True), (X,), name="rnn_tanh"),
    Case(
        lambda: nn.RNN(F, H, 2, nonlinearity="relu", bidirectional=True),
        (TIME_MAJOR,),
        name="rnn_relu_stacked",
    ),
    Case(lambda: nn.LSTM(F, H, batch_first=True), (X,), name="lstm"),
    Case(
        lambda: nn.LSTM(F, H, 3, bidirectional=True, batch_first=True, dropout=0.2),
        (X,),
        name="lstm_stacked",
    ),
    Case(lambda: nn.GRU(F, H), (TIME_MAJOR,), name="gru_time_major"),
    Case(lambda: nn.GRU(F, H, 2, bias=False, batch_first=True), (X,), name="gru_without_bias"),
    Case(lambda: nn.LSTM(F, H, bias=False, bidirectional=True), (TIME_MAJOR,), name="lstm_no_bias"),
    Case(
        lambda: nn.LSTM(F, H, batch_first=True),
        (X, (floats(1, "batch", H), floats(1, "batch", H))),
        name="lstm_given_state",
    ),
    Case(
        lambda: nn.GRU(F, H, 2, bidirectional=True, batch_first=True),
        (X, floats(4, "batch", H)),
        name="gru_given_state",
    ),
    Case(lambda: nn.LSTM(F, H), (floats("sequence", F),), name="lstm_unbatched"),
    Case(
        lambda: nn.GRU(F, H, batch_first=True),
        (floats("sequence", F), floats(1, H)),
        name="gru_unbatched_state",
    ),
    Case(lambda: nn.LSTM(F, H, proj_size=3, batch_first=True), (X,), name="lstm_projected"),
    Case(
        lambda: nn.LSTM(F, H, 2, proj_size=3, bidirectional=True),
        (TIME_MAJOR, (floats(4, "batch", 3), floats(4, "batch", H))),
        name="lstm_projected_stacked",
    ),
    Case(
        _lstm_double,
        (floats("batch", "sequence", F, dtype=torch.float64),),
        name="lstm_float64",
        tolerance=1e-9,
    ),
    Case(
        _gru_double,
        (floats("batch", "sequence", F, dtype=torch.float64),),
        name="gru_float64",
        tolerance=1e-9,
    ),
    Case(
        _lstm_half,
        (floats("batch", "sequence", F, dtype=torch.float16),),
        name="lstm_float16",
        tolerance=1e-2,
    ),
    Case(LastStep, (TIME_MAJOR,)),
    Case(BothFinalStates, (X,)),
    Case(LearnedState, (X,)),
    Case(MirroredRows, (X,)),
    Case(ContextState, (X, floats("batch", 4))),
    Case(ZeroState, (X,)),
    Case(StackWithNorms, (X,)),
    Case(CellStateOnly, (TIME_MAJOR,)),
]
