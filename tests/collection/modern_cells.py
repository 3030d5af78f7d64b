"""Gated and recurrent cells of the last decade, written the way their users write them."""

from __future__ import annotations

import math

import torch
from collection.case import Case, floats, offsets
from torch import Tensor, nn
from torch.nn import functional

F, H = 3, 4
X = floats("batch", "sequence", F)
WIDE = floats("batch", "sequence", H)
STATE = floats("batch", H)


class StackedIndRNN(nn.Module):
    """Batch norm after every layer, clipped recurrent weights, a shortcut from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.ModuleList([nn.Linear(H, H) for _ in range(2)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(H) for _ in range(2)])
        self.u = nn.ParameterList([nn.Parameter(torch.randn(H)) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for n in range(2):
            u = self.u[n].clamp(-0.9, 0.9)
            h = torch.zeros(x.shape[0], H, device=x.device)
            seq = []
            for t in range(y.shape[1]):
                h = functional.relu(self.inputs[n](y[:, t]) + u * h)
                seq.append(self.norms[n](h))
            y = torch.stack(seq, dim=1)
        return x + y


class ConvSRU(nn.Module):
    """Layers of simple recurrent units that share one projection, highway output, scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(H, 3 * H) * 0.4) for _ in "ab"])
        self.bias = nn.Parameter(torch.randn(2, 2 * H))

    def forward(self, x: Tensor, c0: Tensor) -> tuple[Tensor, Tensor]:
        finals = []
        for n, weight in enumerate(self.weights):
            u = (x @ weight).view(x.size(0), x.size(1), H, 3)
            fb, rb = self.bias[n].chunk(2)
            c, hs = c0[n], []
            for t in range(x.size(1)):
                f = torch.sigmoid(u[:, t, :, 1] + fb)
                r = torch.sigmoid(u[:, t, :, 2] + rb)
                c = c * f + u[:, t, :, 0] * (1 - f)
                hs.append(functional.tanh(c) * r + x[:, t] * (1 - r) * math.sqrt(2))
            x = torch.stack(hs, 1)
            finals.append(c)
        return x, torch.stack(finals)


class QRNNPooling(nn.Module):
    """ifo-pooling over a kernel of two, time first, the final cell state returned too."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * F, 4 * H)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shifted = torch.cat([torch.zeros_like(x[:1]), x[:-1]], dim=0)
        z, f, o, i = self.linear(torch.cat([shifted, x], dim=2)).chunk(4, dim=2)
        z, f, o, i = z.tanh(), f.sigmoid(), o.sigmoid(), i.sigmoid()
        c = z.new_zeros(x.shape[1], H)
        result = torch.empty(x.shape[0], x.shape[1], H)
        for t, (zt, ft, it) in enumerate(zip(z, f, i, strict=True)):
            c = ft * c + it * zt
            result[t] = o[t] * c
        return result, c


class MinLSTM(nn.Module):
    """The minimal LSTM: normalised forget and input gates, step after step."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.i, self.h = nn.Linear(F, H), nn.Linear(F, H), nn.Linear(F, H)

    def step(self, x: Tensor, before: Tensor) -> Tensor:
        f, i = torch.sigmoid(self.f(x)), torch.sigmoid(self.i(x))
        total = f + i
        return (f / total) * before + (i / total) * self.g(self.h(x))

    @staticmethod
    def g(x: Tensor) -> Tensor:
        return torch.where(x >= 0, x + 0.5, x.sigmoid())

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        states = []
        for t in range(x.shape[1]):
            h = self.step(x[:, t, :], h)
            states.append(h.unsqueeze(1))
        return torch.cat(states, dim=1)


class MinGRUScan(nn.Module):
    """The minimal GRU as a parallel scan in log space."""

    def __init__(self) -> None:
        super().__init__()
        self.to_hidden_and_gate = nn.Linear(F, 2 * H)

    def forward(self, x: Tensor) -> Tensor:
        hidden, gate = self.to_hidden_and_gate(x).chunk(2, dim=-1)
        log_coeffs = -functional.softplus(gate)
        log_z = -functional.softplus(-gate)
        log_h = torch.where(hidden >= 0, (functional.relu(hidden) + 0.5).log(),
                            -functional.softplus(-hidden))  # fmt: skip
        a_star = log_coeffs.cumsum(dim=1)
        log_h0_plus_b_star = torch.logcumsumexp(log_z + log_h - a_star, dim=1)
        return (a_star + log_h0_plus_b_star).exp()


class TimeAwareLSTM(nn.Module):
    """T-LSTM: the short-term part of the memory fades with the time between two visits."""

    def __init__(self) -> None:
        super().__init__()
        self.w_all, self.u_all = nn.Linear(H, 4 * H), nn.Linear(F, 4 * H)
        self.w_d = nn.Linear(H, H)

    def forward(self, inputs: Tensor, timestamps: Tensor, reverse: bool = False) -> Tensor:
        b, seq, _ = inputs.size()
        h = torch.zeros(b, H, requires_grad=False)
        c = torch.zeros(b, H, requires_grad=False)
        outputs = []
        for s in range(seq):
            c_s1 = torch.tanh(self.w_d(c))
            c_s2 = c_s1 * timestamps[:, s : s + 1].expand_as(c_s1)
            c_adj = (c - c_s1) + c_s2
            outs = self.w_all(h) + self.u_all(inputs[:, s])
            f, i, o, c_tmp = torch.chunk(outs, 4, 1)
            f, i, o = torch.sigmoid(f), torch.sigmoid(i), torch.sigmoid(o)
            c = f * c_adj + i * torch.sigmoid(c_tmp)
            h = o * torch.tanh(c)
            outputs.append(h)
        if reverse:
            outputs.reverse()
        return torch.stack(outputs, 1)


class PhasedLSTM(nn.Module):
    """A time gate opens in a learned rhythm; times come with the input."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(F, H)
        self.tau = nn.Parameter(torch.rand(H) + 1.0)
        self.shift = nn.Parameter(torch.rand(H))

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        h, c = x.new_zeros(x.size(0), H), x.new_zeros(x.size(0), H)
        ys = []
        for t in range(x.size(1)):
            phi = torch.fmod(times[:, t, None] - self.shift + 10 * self.tau, self.tau) / self.tau
            k = torch.where(phi < 0.15, 2 * phi / 0.3,
                            torch.where(phi < 0.3, 2 - 2 * phi / 0.3, 0.001 * phi))  # fmt: skip
            h_new, c_new = self.cell(x[:, t], (h, c))
            h = k * h_new + (1 - k) * h
            c = k * c_new + (1 - k) * c
            ys.append(h)
        return torch.stack(ys, 1)


class RecurrentHighway(nn.Module):
    """Several highway layers deep in every step."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.depth = depth
        self.x_h, self.x_t = nn.Linear(F, H, bias=False), nn.Linear(F, H, bias=False)
        self.r_h = nn.ModuleList([nn.Linear(H, H) for _ in range(depth)])
        self.r_t = nn.ModuleList([nn.Linear(H, H) for _ in range(depth)])

    def forward(self, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        out = []
        for t in range(x.shape[1]):
            for layer in range(self.depth):
                pre_h, pre_t = self.r_h[layer](s), self.r_t[layer](s)
                if layer == 0:
                    pre_h = pre_h + self.x_h(x[:, t])
                    pre_t = pre_t + self.x_t(x[:, t])
                gate = torch.sigmoid(pre_t)
                s = torch.tanh(pre_h) * gate + s * (1 - gate)
            out.append(s)
        return torch.stack(out, 1), s


class MultiplicativeLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wmx, self.wmh = nn.Linear(F, H, bias=False), nn.Linear(H, H, bias=False)
        self.wx, self.wm = nn.Linear(F, 4 * H), nn.Linear(H, 4 * H, bias=False)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is None:
            state = (x.new_zeros(x.shape[1], H), x.new_zeros(x.shape[1], H))
        hx, cx = state
        hiddens = []
        for step in x:
            m = self.wmx(step) * self.wmh(hx)
            i, o, u, f = (self.wx(step) + self.wm(m)).split(H, dim=1)
            cx = f.sigmoid_() * cx + i.sigmoid_() * u.tanh_()
            hx = o.sigmoid_() * torch.tanh(cx)
            hiddens.append(hx)
        return torch.stack(hiddens), (hx, cx)


class FastWeights(nn.Module):
    """A decaying matrix of outer products, applied in three inner settling steps."""

    def __init__(self) -> None:
        super().__init__()
        self.w_h, self.w_x = nn.Linear(H, H, bias=False), nn.Linear(F, H)
        self.norm = nn.LayerNorm(H)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(0), H)
        a = torch.zeros(x.size(0), H, H)
        for t in range(x.size(1)):
            boundary = self.w_h(h) + self.w_x(x[:, t, :])
            h_s = torch.relu(boundary)
            a = 0.9 * a + 0.5 * torch.bmm(h.unsqueeze(2), h.unsqueeze(1))
            for _ in range(3):
                h_s = torch.relu(self.norm(boundary + torch.bmm(h_s.unsqueeze(1), a).squeeze(1)))
            h = h_s
        return h


class SkipGate(nn.Module):
    """Skip RNN: a binary gate by rounding decides whether the state is updated."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.update = nn.GRUCell(F, H), nn.Linear(H, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        batch = x.size(0)
        h, p = x.new_zeros(batch, H), x.new_ones(batch, 1)
        outputs, gates = [], []
        for xt in x.unbind(dim=1):
            u = torch.round(p)
            new = self.cell(xt, h)
            delta = torch.sigmoid(self.update(new))
            h = u * new + (1 - u) * h
            p = u * delta + (1 - u) * (p + torch.min(delta, 1 - p))
            outputs.append(h)
            gates.append(u)
        return torch.stack(outputs, 1), torch.cat(gates, 1)


class MultiscaleRNN(nn.Module):
    """Two layers with boundary detectors: flush, copy or update."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Linear(F + 2 * H, 3 * H + 1), nn.Linear(2 * H, 3 * H + 1)

    def cell(self, gates: Tensor, c: Tensor, z_before: Tensor, z_below: Tensor) -> list[Tensor]:
        f, i, g, z = torch.split(gates, [H, H, H, 1], dim=1)
        update = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        flush = torch.sigmoid(i) * torch.tanh(g)
        copied = (1 - z_before) * (1 - z_below) * c
        c = z_before * flush + (1 - z_before) * z_below * update + copied
        return [torch.tanh(c), c, (torch.sigmoid(z) > 0.5).float()]

    def forward(self, x: Tensor) -> Tensor:
        zeros = x.new_zeros(x.size(0), H)
        low, high = [zeros, zeros, zeros[:, :1]], [zeros, zeros, zeros[:, :1]]
        ones, outputs = x.new_ones(x.size(0), 1), []
        for t in range(x.size(1)):
            low = self.cell(self.low(torch.cat([x[:, t], low[0], low[2] * high[0]], 1)),
                            low[1], low[2], ones)  # fmt: skip
            high = self.cell(self.high(torch.cat([low[2] * low[0], high[0]], 1)),
                             high[1], high[2], low[2])  # fmt: skip
            outputs.append(torch.cat([low[0], high[0]], 1))
        return torch.stack(outputs, 1)


CASES = [
    Case(StackedIndRNN, (WIDE,)),
    Case(ConvSRU, (WIDE, floats(2, "batch", H))),
    Case(QRNNPooling, (floats("sequence", "batch", F),)),
    Case(MinLSTM, (X, STATE)),
    Case(MinGRUScan, (X,)),
    Case(TimeAwareLSTM, (X, offsets("batch", "sequence"))),
    Case(PhasedLSTM, (X, offsets("batch", "sequence"))),
    Case(RecurrentHighway, (X, STATE)),
    Case(MultiplicativeLSTM, (floats("sequence", "batch", F), (STATE, STATE))),
    Case(FastWeights, (X,)),
    Case(SkipGate, (X,)),
    Case(MultiscaleRNN, (X,)),
]
