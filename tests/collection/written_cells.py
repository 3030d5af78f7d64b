"""Standard cells written out by hand, each in another spelling."""

from __future__ import annotations

import torch
from collection.case import Case, floats
from torch import Tensor, nn
from torch.nn import functional

F, H = 5, 6
X = floats("batch", "sequence", F)
STATE = floats("batch", H)


class OneLinearLSTM(nn.Module):
    """All gates of one Linear over the input and the state side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(F + H, 4 * H)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, c, outputs = x.new_zeros(x.size(0), H), x.new_zeros(x.size(0), H), []
        for t in range(x.size(1)):
            i, f, g, o = self.gates(torch.cat([x[:, t], h], 1)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, 1), c


class TwoLinearsLSTM(nn.Module):
    """W x + U h, gates in the order o, f, i, g, one forget bias on top."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.across = nn.Linear(F, 4 * H), nn.Linear(H, 4 * H, bias=False)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        for step in x.unbind(1):
            gates = self.inside(step) + self.across(h)
            o, f, i, g = gates.split(H, dim=-1)
            c = c * (f + 1.0).sigmoid() + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return h, c


class EightLinearsLSTMCell(nn.Module):
    """The equations of a textbook."""

    def __init__(self) -> None:
        super().__init__()
        self.wi, self.wf, self.wg, self.wo = (nn.Linear(F, H) for _ in range(4))
        self.ui, self.uf, self.ug, self.uo = (nn.Linear(H, H, bias=False) for _ in range(4))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        i = torch.sigmoid(self.wi(x) + self.ui(h))
        f = torch.sigmoid(self.wf(x) + self.uf(h))
        g = torch.tanh(self.wg(x) + self.ug(h))
        o = torch.sigmoid(self.wo(x) + self.uo(h))
        c = f * c + i * g
        return o * torch.tanh(c), c


class EightLinearsLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = EightLinearsLSTMCell()
        self.head = nn.Linear(H, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = (x.new_zeros(x.size(0), H), x.new_zeros(x.size(0), H))
        outputs = []
        for t in range(x.size(1)):
            state = self.cell(x[:, t, :], state)
            outputs.append(self.head(state[0]))
        return torch.stack(outputs, 1)


class ParametersLSTM(nn.Module):
    """Matrices as Parameters, multiplied by @, gates taken by slices, one sigmoid for three."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u = (nn.Parameter(torch.randn(n, 4 * H) * 0.3) for n in (F, H))
        self.b = nn.Parameter(torch.randn(4 * H))

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.size()
        h, c, outputs = torch.zeros(batch, H), torch.zeros(batch, H), []
        for t in range(steps):
            gates = x[:, t, :] @ self.w + h @ self.u + self.b
            s = torch.sigmoid(gates[:, : 3 * H])
            i, f, o = s[:, :H], s[:, H : 2 * H], s[:, 2 * H :]
            c = f * c + i * torch.tanh(gates[:, 3 * H :])
            h = o * torch.tanh(c)
            outputs.append(h.unsqueeze(1))
        return torch.cat(outputs, dim=1)


class HoistedLSTM(nn.Module):
    """The input's product for all steps before the loop; the first state is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.across = nn.Linear(F, 4 * H), nn.Linear(H, 4 * H)
        self.h0, self.c0 = nn.Parameter(torch.randn(1, H)), nn.Parameter(torch.randn(1, H))

    def forward(self, x: Tensor) -> Tensor:
        projected = self.inside(x)
        h, c = self.h0.expand(x.size(0), -1), self.c0.expand(x.size(0), -1)
        outputs = []
        for t in range(x.size(1)):
            gates = (projected[:, t] + self.across(h)).view(-1, 4, H)
            i, f, g, o = gates.unbind(1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs, 1)


class PeepholesLSTM(nn.Module):
    """The gates look at the cell, that of the output at the new one."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(F + H, 4 * H)
        self.peep = nn.Parameter(torch.randn(3, H))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = c = x.new_zeros(x.size(0), H)
        outputs = []
        for t in range(x.size(1)):
            i, f, g, o = self.gates(torch.cat([h, x[:, t]], 1)).chunk(4, 1)
            i, f = torch.sigmoid(i + self.peep[0] * c), torch.sigmoid(f + c * self.peep[1])
            c = f * c + i * torch.tanh(g)
            h = torch.sigmoid(o + self.peep[2] * c) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, 1), c


class CoupledLSTM(nn.Module):
    """What is forgotten makes room for what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(F + H, 3 * H)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = c = x.new_zeros(x.size(0), H)
        for t in range(x.size(1)):
            f, g, o = self.gates(torch.cat([x[:, t], h], 1)).chunk(3, 1)
            f = torch.sigmoid(f)
            c = f * c + (1 - f) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return h, c


class HardLSTM(nn.Module):
    """Gates without exponentials, as for small devices."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.across = nn.Linear(F, 4 * H), nn.Linear(H, 4 * H)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.size(0), H)
        outputs = []
        for t in range(x.size(1)):
            i, f, g, o = (self.inside(x[:, t]) + self.across(h)).chunk(4, 1)
            i, f, o = (functional.hardsigmoid(gate) for gate in (i, f, o))
            c = f * c + i * torch.tanh(g)
            h = o * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, 1)


class StackedLSTM(nn.Module):
    """Two written cells a step."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Linear(F + H, 4 * H), nn.Linear(2 * H, 4 * H)

    @staticmethod
    def _step(gates: nn.Module, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = gates(torch.cat((x, h), -1)).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def forward(self, x: Tensor) -> Tensor:
        h = c = k = d = x.new_zeros(x.size(0), H)
        outputs = []
        for t in range(x.size(1)):
            h, c = self._step(self.low, x[:, t], h, c)
            k, d = self._step(self.high, h, k, d)
            outputs.append(k)
        return torch.stack(outputs, 1)


class ResetAfterGRU(nn.Module):
    """The reset gate acts on the product, as in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.across = nn.Linear(F, 3 * H), nn.Linear(H, 3 * H)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        projected, outputs = self.inside(x), []
        for t in range(x.size(1)):
            r_x, z_x, n_x = projected[:, t].chunk(3, -1)
            r_h, z_h, n_h = self.across(h).chunk(3, -1)
            r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
            n = torch.tanh(n_x + r * n_h)
            h = n + z * (h - n)
            outputs.append(h)
        return torch.stack(outputs, 1), h


class ResetBeforeGRU(nn.Module):
    """The reset gate acts on the state, z is the share of the new one, as in the first paper."""

    def __init__(self) -> None:
        super().__init__()
        self.wz, self.wr, self.wn = (nn.Linear(F + H, H) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.size(0), H), []
        for t in range(x.size(1)):
            both = torch.cat([h, x[:, t]], dim=1)
            z, r = torch.sigmoid(self.wz(both)), torch.sigmoid(self.wr(both))
            n = torch.tanh(self.wn(torch.cat([r * h, x[:, t]], dim=1)))
            h = (1 - z) * h + z * n
            outputs.append(h)
        return torch.stack(outputs, 1)


class LerpGRU(nn.Module):
    """Runs backwards, mixes by lerp."""

    def __init__(self) -> None:
        super().__init__()
        self.gates, self.candidate = nn.Linear(F + H, 2 * H), nn.Linear(F + H, H)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), H)
        outputs: list[Tensor] = []
        for t in reversed(range(x.size(1))):
            r, z = self.gates(torch.cat([x[:, t], h], 1)).sigmoid().chunk(2, 1)
            n = self.candidate(torch.cat([x[:, t], r * h], 1)).tanh()
            h = torch.lerp(h, n, z)
            outputs.insert(0, h)
        return torch.stack(outputs, 1)


class NoResetGRU(nn.Module):
    """An update gate alone, ReLU as activation."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.across = nn.Linear(F, 2 * H), nn.Linear(H, 2 * H, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        w, h, outputs = self.inside(x), x.new_zeros(x.size(0), H), []
        for t in range(x.size(1)):
            a, z = (w[:, t] + self.across(h)).chunk(2, 1)
            z = torch.sigmoid(z)
            h = z * h + (1 - z) * torch.relu(a)
            outputs.append(h)
        return torch.stack(outputs, 1)


class ElmanRNN(nn.Module):
    """One Linear and tanh; time comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.i2h, self.h2o = nn.Linear(F + H, H), nn.Linear(H, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(0), H)
        outputs = []
        for step in x.transpose(0, 1):
            h = torch.tanh(self.i2h(torch.cat((step, h), 1)))
            outputs.append(self.h2o(h))
        return torch.stack(outputs, 1)


class BothWaysRNN(nn.Module):
    """ReLU, a loop in each direction, a matrix of its own for each."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.ModuleList([nn.Linear(F, H) for _ in range(2)])
        self.across = nn.ParameterList([torch.randn(H, H) * 0.3 for _ in range(2)])

    def _run(self, x: Tensor, way: int) -> Tensor:
        h, outputs = x.new_zeros(x.size(0), H), []
        for t in range(x.size(1)):
            h = functional.relu(self.inside[way](x[:, t]) + torch.mm(h, self.across[way]))
            outputs.append(h)
        return torch.stack(outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._run(x, 0), self._run(x.flip(1), 1).flip(1)], -1)


CASES = [
    Case(OneLinearLSTM, (X,)),
    Case(TwoLinearsLSTM, (X, STATE, STATE)),
    Case(EightLinearsLSTM, (X,)),
    Case(ParametersLSTM, (X,)),
    Case(HoistedLSTM, (X,)),
    Case(PeepholesLSTM, (X,)),
    Case(CoupledLSTM, (X,)),
    Case(HardLSTM, (X,)),
    Case(StackedLSTM, (X,)),
    Case(ResetAfterGRU, (X, STATE)),
    Case(ResetBeforeGRU, (X,)),
    Case(LerpGRU, (X,)),
    Case(NoResetGRU, (X,)),
    Case(ElmanRNN, (X,)),
    Case(BothWaysRNN, (X,)),
]
