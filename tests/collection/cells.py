"""Hand-written recurrences after published cells, each in a loop over time."""

from __future__ import annotations

import torch
from collection.case import Case, floats, masks, offsets
from torch import Tensor, nn
from torch.nn import functional

F, H = 5, 6
X = floats("batch", "sequence", F)


class LayerNormLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside, self.across = nn.Linear(F, 4 * H), nn.Linear(H, 4 * H, bias=False)
        self.norm_x, self.norm_h = nn.LayerNorm(4 * H), nn.LayerNorm(4 * H)
        self.norm_c = nn.LayerNorm(H)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = c = x.new_zeros(x.size(0), H)
        outputs = []
        for step in x.unbind(1):
            gates = self.norm_x(self.inside(step)) + self.norm_h(self.across(h))
            i, f, g, o = gates.chunk(4, 1)
            c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(self.norm_c(c))
            outputs.append(h)
        return torch.stack(outputs, 1), c


class PeepholeLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(F + H, 4 * H)
        self.peep_i, self.peep_f, self.peep_o = (nn.Parameter(torch.randn(H)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.size(0), H)
        outputs = []
        for t in range(x.size(1)):
            i, f, g, o = self.gates(torch.cat([x[:, t], h], 1)).chunk(4, 1)
            i, f = torch.sigmoid(i + self.peep_i * c), torch.sigmoid(f + self.peep_f * c)
            c = f * c + i * torch.tanh(g)
            h = torch.sigmoid(o + self.peep_o * c) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, 1)


class LiGRU(nn.Module):
    """A GRU without reset gate; batch norm on the input's part, ReLU as activation."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(F, 2 * H, bias=False)
        self.across = nn.Linear(H, 2 * H, bias=False)
        self.norm = nn.BatchNorm1d(2 * H)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        w = self.norm(self.inside(x).reshape(batch * steps, 2 * H)).reshape(batch, steps, 2 * H)
        h = torch.zeros(batch, H)
        outputs = []
        for t in range(steps):
            a, z = (w[:, t] + self.across(h)).chunk(2, 1)
            z = torch.sigmoid(z)
            h = z * h + (1 - z) * torch.relu(a)
            outputs.append(h)
        return torch.stack(outputs, 1)


class MGU(nn.Module):
    """The minimal gated unit: one gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.candidate = nn.Linear(F + H, H), nn.Linear(F + H, H)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), H)
        for step in x.unbind(1):
            f = torch.sigmoid(self.gate(torch.cat([step, h], 1)))
            h = (1 - f) * h + f * torch.tanh(self.candidate(torch.cat([step, f * h], 1)))
        return h


class IndRNN(nn.Module):
    """Every unit sees itself only."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(F, H), nn.Linear(H, H)])
        self.across = nn.Parameter(torch.rand(2, H))

    def forward(self, x: Tensor) -> Tensor:
        for layer, weight in zip(self.layers, self.across, strict=True):
            inside, h, outputs = layer(x), x.new_zeros(x.size(0), H), []
            for t in range(x.size(1)):
                h = torch.relu(inside[:, t] + weight * h)
                outputs.append(h)
            x = torch.stack(outputs, 1)
        return x


class SRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(H, 3 * H)
        self.v = nn.Parameter(torch.randn(2, H))

    def forward(self, x: Tensor) -> Tensor:
        u, f_in, r_in = self.inside(x).split(H, -1)
        c, outputs = x.new_zeros(x.size(0), H), []
        for t in range(x.size(1)):
            f = torch.sigmoid(f_in[:, t] + self.v[0] * c)
            r = torch.sigmoid(r_in[:, t] + self.v[1] * c)
            c = f * c + (1 - f) * u[:, t]
            outputs.append(r * torch.tanh(c) + (1 - r) * x[:, t])
        return torch.stack(outputs, 1)


class QRNN(nn.Module):
    """Gates by a causal convolution, then fo-pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(F, 3 * H, 2)

    def forward(self, x: Tensor) -> Tensor:
        z, f, o = self.conv(functional.pad(x.transpose(1, 2), (1, 0))).chunk(3, 1)
        z, f, o = torch.tanh(z), torch.sigmoid(f), torch.sigmoid(o)
        c, outputs = torch.zeros_like(z[..., 0]), []
        for t in range(z.size(2)):
            c = f[..., t] * c + (1 - f[..., t]) * z[..., t]
            outputs.append(o[..., t] * c)
        return torch.stack(outputs, 2).transpose(1, 2)


class MinGRU(nn.Module):
    """The gate looks at the input alone."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.candidate = nn.Linear(F, H), nn.Linear(F, H)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        z, candidate, outputs = torch.sigmoid(self.gate(x)), self.candidate(x), []
        for t in range(x.shape[1]):
            h = torch.lerp(h, candidate[:, t], z[:, t])
            outputs.append(h)
        return torch.stack(outputs, 1), h


class GRUD(nn.Module):
    """Missing values decay towards a mean, and so does the state, with the time since the last."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(2 * F, H)
        self.decay_x, self.decay_h = nn.Linear(F, F), nn.Linear(F, H)
        self.register_buffer("mean", torch.randn(F))

    def forward(self, x: Tensor, mask: Tensor, gap: Tensor) -> Tensor:
        h, last, outputs = x.new_zeros(x.size(0), H), torch.zeros_like(x[:, 0]), []
        for t in range(x.size(1)):
            m, d = mask[:, t].float(), gap[:, t]
            gamma = torch.exp(-torch.relu(self.decay_x(d)))
            last = torch.where(mask[:, t], x[:, t], last)
            filled = m * x[:, t] + (1 - m) * (gamma * last + (1 - gamma) * self.mean)
            h = self.cell(torch.cat([filled, m], 1), h * torch.exp(-torch.relu(self.decay_h(d))))
            outputs.append(h)
        return torch.stack(outputs, 1)


class Zoneout(nn.Module):
    """In evaluation, old and new state are mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        state = (x.new_zeros(x.size(0), H), x.new_zeros(x.size(0), H))
        outputs = []
        for t in range(x.size(1)):
            new = self.cell(x[:, t], state)
            state = tuple(0.1 * old + 0.9 * now for old, now in zip(state, new, strict=True))
            outputs.append(state[0])
        return torch.stack(outputs, 1)


class ResidualLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTMCell(H, H), nn.LSTMCell(H, H)])

    def forward(self, x: Tensor) -> Tensor:
        hs = [x.new_zeros(x.size(0), H) for _ in self.cells]
        cs = [x.new_zeros(x.size(0), H) for _ in self.cells]
        outputs = []
        for t in range(x.size(1)):
            y = x[:, t]
            for n, cell in enumerate(self.cells):
                hs[n], cs[n] = cell(y, (hs[n], cs[n]))
                y = y + hs[n]
            outputs.append(y)
        return torch.stack(outputs, 1)


class HighwayLSTM(nn.Module):
    """A gate lets the input pass by the cell."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.gate = nn.LSTMCell(H, H), nn.Linear(2 * H, H)

    def forward(self, x: Tensor) -> Tensor:
        h = c = y = x.new_zeros(x.size(0), H)
        outputs = []
        for t in range(x.size(1)):
            h, c = self.cell(x[:, t], (y, c))
            r = torch.sigmoid(self.gate(torch.cat([x[:, t], h], 1)))
            y = r * h + (1 - r) * x[:, t]
            outputs.append(y)
        return torch.stack(outputs, 1)


class NestedLSTM(nn.Module):
    """The cell state is the hidden state of an inner LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.gates, self.inner = nn.Linear(F + H, 4 * H), nn.LSTMCell(H, H)

    def forward(self, x: Tensor) -> Tensor:
        h = c = inner_c = x.new_zeros(x.size(0), H)
        outputs = []
        for t in range(x.size(1)):
            i, f, g, o = self.gates(torch.cat([x[:, t], h], 1)).chunk(4, 1)
            c, inner_c = self.inner(i.sigmoid() * g.tanh(), (f.sigmoid() * c, inner_c))
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs, 1)


class OrderedNeurons(nn.Module):
    """ON-LSTM: master gates by a cumulative softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(F + H, 4 * H + 4)

    def forward(self, x: Tensor) -> Tensor:
        h, c = x.new_zeros(x.size(0), H), x.new_zeros(x.size(0), 2, H // 2)
        outputs = []
        for t in range(x.size(1)):
            out = self.gates(torch.cat([x[:, t], h], 1))
            master_i = 1 - torch.cumsum(torch.softmax(out[:, :2], -1), -1).unsqueeze(2)
            master_f = torch.cumsum(torch.softmax(out[:, 2:4], -1), -1).unsqueeze(2)
            i, f, g, o = out[:, 4:].reshape(-1, 4, 2, H // 2).unbind(1)
            overlap = master_i * master_f
            f = f.sigmoid() * overlap + (master_f - overlap)
            i = i.sigmoid() * overlap + (master_i - overlap)
            c = f * c + i * g.tanh()
            h = (o.sigmoid() * c.tanh()).flatten(1)
            outputs.append(h)
        return torch.stack(outputs, 1)


class SLSTM(nn.Module):
    """sLSTM: exponential gates, a normalizer and a stabilizer beside the cell state."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.across = nn.Linear(F, 4 * H), nn.Linear(H, 4 * H, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = c = m = x.new_zeros(x.size(0), H)
        n = torch.ones_like(h)
        outputs = []
        for step in x.unbind(1):
            i, f, z, o = (self.inside(step) + self.across(h)).chunk(4, -1)
            log_f = functional.logsigmoid(f)
            m_new = torch.maximum(log_f + m, i)
            i, f = torch.exp(i - m_new), torch.exp(log_f + m - m_new)
            c, n, m = f * c + i * torch.tanh(z), f * n + i, m_new
            h = torch.sigmoid(o) * c / n
            outputs.append(h)
        return torch.stack(outputs, 1)


class DilatedRNN(nn.Module):
    """Feeds back the state of four steps before, from a list that grows."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(F, H)

    def forward(self, x: Tensor) -> Tensor:
        states = [x.new_zeros(x.size(0), H) for _ in range(4)]
        for t in range(x.size(1)):
            states.append(self.cell(x[:, t], states[t]))
        return torch.stack(states[4:], 1)


class ClockworkRNN(nn.Module):
    """Groups of units with periods of 1, 2 and 4 steps."""

    periods: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.across = nn.Linear(F, H), nn.Linear(H, H)
        self.register_buffer("periods", torch.tensor([1, 1, 2, 2, 4, 4]))

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.size(0), H), []
        for t in range(x.size(1)):
            new = torch.tanh(self.inside(x[:, t]) + self.across(h))
            h = torch.where(t % self.periods == 0, new, h)
            outputs.append(h)
        return torch.stack(outputs, 1)


class LinearRecurrence(nn.Module):
    """A diagonal state space with as many states as channels times four."""

    def __init__(self) -> None:
        super().__init__()
        self.log_a = nn.Parameter(torch.rand(F, 4))
        self.b, self.c = nn.Linear(F, 4), nn.Linear(F, 4)
        self.step_size, self.d = nn.Linear(F, F), nn.Parameter(torch.ones(F))

    def forward(self, x: Tensor) -> Tensor:
        delta = functional.softplus(self.step_size(x))
        decay = torch.exp(-delta.unsqueeze(-1) * torch.exp(self.log_a))
        drive = (delta * x).unsqueeze(-1) * self.b(x).unsqueeze(2)
        c, state, outputs = self.c(x), x.new_zeros(x.size(0), F, 4), []
        for t in range(x.size(1)):
            state = decay[:, t] * state + drive[:, t]
            outputs.append(torch.einsum("bfn,bn->bf", state, c[:, t]))
        return torch.stack(outputs, 1) + self.d * x


class TimeMixing(nn.Module):
    """RWKV's mixing: the input of the step before, and a decaying sum of weighted values."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.rand(F))
        self.key, self.value, self.gate = (nn.Linear(F, F, bias=False) for _ in range(3))
        self.decay, self.bonus = nn.Parameter(torch.rand(F)), nn.Parameter(torch.rand(F))

    def forward(self, x: Tensor) -> Tensor:
        before = functional.pad(x, (0, 0, 1, -1))
        mixed = x * self.mix + before * (1 - self.mix)
        k, v, r = self.key(mixed), self.value(mixed), torch.sigmoid(self.gate(mixed))
        top = bottom = torch.zeros_like(x[:, 0])
        outputs = []
        for t in range(x.size(1)):
            now = torch.exp(self.bonus + k[:, t])
            outputs.append((top + now * v[:, t]) / (bottom + now))
            top = torch.exp(-self.decay) * top + torch.exp(k[:, t]) * v[:, t]
            bottom = torch.exp(-self.decay) * bottom + torch.exp(k[:, t])
        return r * torch.stack(outputs, 1)


class GatedDeltaRule(nn.Module):
    """A matrix as state: fast weights written by keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.beta = nn.Linear(F, 3 * 4), nn.Linear(F, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        k, beta = functional.normalize(k, dim=-1), torch.sigmoid(self.beta(x))
        memory, outputs = x.new_zeros(x.size(0), 4, 4), []
        for t in range(x.size(1)):
            old = torch.bmm(memory, k[:, t].unsqueeze(2)).squeeze(2)
            change = beta[:, t] * (v[:, t] - old)
            memory = memory + change.unsqueeze(2) * k[:, t].unsqueeze(1)
            outputs.append(torch.bmm(memory, q[:, t].unsqueeze(2)).squeeze(2))
        return torch.stack(outputs, 1)


class LiquidCell(nn.Module):
    """A closed-form continuous-time cell with a time gap a step."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.rate, self.target = nn.Linear(F + H, H), nn.Linear(H, H), nn.Linear(H, H)

    def forward(self, x: Tensor, gap: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), H)
        outputs = []
        for t in range(x.size(1)):
            z = torch.tanh(self.body(torch.cat([x[:, t], h], 1)))
            gate = torch.sigmoid(-self.rate(z) * gap[:, t : t + 1])
            h = gate * h + (1 - gate) * self.target(z)
            outputs.append(h)
        return torch.stack(outputs, 1)


CASES = [
    Case(LayerNormLSTM, (X,)),
    Case(PeepholeLSTM, (X,)),
    Case(LiGRU, (X,)),
    Case(MGU, (X,)),
    Case(IndRNN, (X,)),
    Case(SRU, (floats("batch", "sequence", H),)),
    Case(QRNN, (X,)),
    Case(MinGRU, (X, floats("batch", H))),
    Case(GRUD, (X, masks("batch", "sequence", F), offsets("batch", "sequence", F))),
    Case(Zoneout, (X,)),
    Case(ResidualLSTM, (floats("batch", "sequence", H),)),
    Case(HighwayLSTM, (floats("batch", "sequence", H),)),
    Case(NestedLSTM, (X,)),
    Case(OrderedNeurons, (X,)),
    Case(SLSTM, (X,)),
    Case(DilatedRNN, (X,)),
    Case(ClockworkRNN, (X,)),
    Case(LinearRecurrence, (X,)),
    Case(TimeMixing, (X,)),
    Case(GatedDeltaRule, (X,)),
    Case(LiquidCell, (X, offsets("batch", "sequence"))),
]
