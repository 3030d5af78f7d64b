"""Linear recurrences and state spaces: LMU, HiPPO, S4D, LRU, Mamba, RWKV, RG-LRU."""

from __future__ import annotations

import math

import torch
from collection.case import Case, floats
from torch import Tensor, nn
from torch.nn import functional

F, H, N = 3, 4, 2
X = floats("batch", "sequence", F)
WIDE = floats("batch", "sequence", H)


class HippoLegS(nn.Module):
    """HiPPO-LegS: the transition depends on the number of the step."""

    a: Tensor
    b: Tensor

    def __init__(self) -> None:
        super().__init__()
        q = torch.arange(4, dtype=torch.float32)
        r = (2 * q + 1).sqrt()
        self.register_buffer("a", torch.tril(r[:, None] * r[None, :], -1) + torch.diag(q + 1))
        self.register_buffer("b", r)

    def forward(self, x: Tensor) -> Tensor:
        c = torch.zeros((*x.shape[:-1], 4))[:, 0]
        cs = []
        for t in range(x.shape[1]):
            c = (
                c
                - functional.linear(c, self.a) * (0.1 / (t + 1))
                + x[:, t, :1] * self.b * (0.1 / (t + 1))
            )
            cs.append(c)
        return torch.stack(cs, dim=1)


class S4DRecurrent(nn.Module):
    """Diagonal state space in its recurrent form, complex numbers as two real ones."""

    def __init__(self) -> None:
        super().__init__()
        self.log_dt = nn.Parameter(torch.rand(H) * 2 - 3)
        self.log_a_real = nn.Parameter(torch.log(0.5 * torch.ones(H, N)))
        self.a_imag = nn.Parameter(math.pi * torch.arange(N).repeat(H, 1).float())
        self.c = nn.Parameter(torch.randn(H, N, 2))
        self.d = nn.Parameter(torch.randn(H))

    def forward(self, u: Tensor) -> Tensor:
        dt = self.log_dt.exp().unsqueeze(-1)
        decay = torch.exp(-torch.exp(self.log_a_real) * dt)
        re, im = decay * torch.cos(self.a_imag * dt), decay * torch.sin(self.a_imag * dt)
        x_re = torch.zeros(u.shape[0], H, N)
        x_im = torch.zeros(u.shape[0], H, N)
        ys = []
        for t in range(u.shape[1]):
            drive = dt * u[:, t].unsqueeze(-1)
            x_re, x_im = re * x_re - im * x_im + drive, re * x_im + im * x_re
            y = 2 * (x_re * self.c[..., 0] - x_im * self.c[..., 1]).sum(-1)
            ys.append(y + self.d * u[:, t])
        return functional.gelu(torch.stack(ys, 1))


class LinearRecurrentUnit(nn.Module):
    """LRU with ring initialisation; real and imaginary part in one last axis."""

    def __init__(self) -> None:
        super().__init__()
        self.nu_log, self.theta_log = nn.Parameter(torch.randn(H)), nn.Parameter(torch.randn(H))
        self.gamma_log = nn.Parameter(torch.zeros(H))
        self.b = nn.Parameter(torch.randn(2, H, F) * 0.3)
        self.c = nn.Parameter(torch.randn(2, F, H) * 0.3)
        self.d = nn.Parameter(torch.randn(F))

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        mod, theta = torch.exp(-torch.exp(self.nu_log)), torch.exp(self.theta_log)
        lam = torch.stack([mod * torch.cos(theta), mod * torch.sin(theta)])
        gamma = self.gamma_log.exp()
        bu = torch.einsum("zhf,btf->btzh", self.b, x) * gamma
        out = torch.empty(x.size(0), x.size(1), F)
        re, im = state.unbind(1)
        for i, step in enumerate(bu.unbind(1)):
            re, im = (
                lam[0] * re - lam[1] * im + step[:, 0],
                lam[0] * im + lam[1] * re + step[:, 1],
            )
            out[:, i, :] = re @ self.c[0].t() - im @ self.c[1].t() + self.d * x[:, i, :]
        return out, torch.stack([re, im], 1)


class SelectiveScan(nn.Module):
    """A Mamba block: causal convolution, selective scan in a loop, gated output."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj, self.out_proj = nn.Linear(H, 2 * H), nn.Linear(H, H)
        self.conv = nn.Conv1d(H, H, 3, groups=H, padding=2)
        self.x_proj, self.dt_proj = nn.Linear(H, 1 + 2 * N, bias=False), nn.Linear(1, H)
        self.a_log = nn.Parameter(torch.log(torch.arange(1, N + 1).float().repeat(H, 1)))
        self.d = nn.Parameter(torch.ones(H))

    def forward(self, x: Tensor) -> Tensor:
        (b, length, _) = x.shape
        xs, res = self.in_proj(x).split(split_size=[H, H], dim=-1)
        xs = self.conv(xs.transpose(1, 2))[:, :, :length].transpose(1, 2)
        xs = functional.silu(xs)
        delta, bb, cc = self.x_proj(xs).split([1, N, N], dim=-1)
        delta = functional.softplus(self.dt_proj(delta))
        a = -torch.exp(self.a_log.float())
        delta_a = torch.exp(torch.einsum("bld,dn->bldn", delta, a))
        delta_bu = torch.einsum("bld,bln,bld->bldn", delta, bb, xs)
        state = torch.zeros((b, H, N), device=delta_a.device)
        ys = []
        for i in range(length):
            state = delta_a[:, i] * state + delta_bu[:, i]
            ys.append(torch.einsum("bdn,bn->bd", state, cc[:, i, :]))
        y = torch.stack(ys, dim=1) + xs * self.d
        return self.out_proj(y * functional.silu(res))


class SelectiveScanCumulative(nn.Module):
    """The scan without a loop: cumulative sums of log decays."""

    def __init__(self) -> None:
        super().__init__()
        self.dt, self.bc = nn.Linear(H, H), nn.Linear(H, 2 * N)
        self.a_log = nn.Parameter(torch.rand(H, N))

    def forward(self, x: Tensor) -> Tensor:
        dt = functional.softplus(self.dt(x)) * 0.1
        b, c = self.bc(x).chunk(2, dim=-1)
        log_decay = (dt.unsqueeze(-1) * -self.a_log.exp()).cumsum(dim=1)
        drive = (dt * x).unsqueeze(-1) * b.unsqueeze(2)
        h = (drive * torch.exp(-log_decay)).cumsum(dim=1) * torch.exp(log_decay)
        return torch.einsum("blhn,bln->blh", h, c)


class RWKVBlock(nn.Module):
    """RWKV-4: token shift, WKV with the running maximum, channel mixing; state in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.mix_k, self.mix_v, self.mix_r = (nn.Parameter(torch.rand(1, 1, H)) for _ in range(3))
        self.time_decay, self.time_first = (
            nn.Parameter(torch.randn(H)),
            nn.Parameter(torch.randn(H)),
        )
        self.key, self.value = nn.Linear(H, H, bias=False), nn.Linear(H, H, bias=False)
        self.receptance, self.output = nn.Linear(H, H, bias=False), nn.Linear(H, H, bias=False)
        self.ln = nn.LayerNorm(H)
        self.shift = nn.ZeroPad2d((0, 0, 1, -1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        b, t, c = x.size()
        xn = self.ln(x)
        xx = self.shift(xn)
        k = self.key(xn * self.mix_k + xx * (1 - self.mix_k))
        v = self.value(xn * self.mix_v + xx * (1 - self.mix_v))
        r = torch.sigmoid(self.receptance(xn * self.mix_r + xx * (1 - self.mix_r)))
        aa = torch.zeros(b, c)
        bb = torch.zeros(b, c)
        pp = torch.full((b, c), -1e38)
        y = torch.zeros_like(v)
        w, u = -torch.exp(self.time_decay), self.time_first
        for i in range(t):
            ww = u + k[:, i]
            p = torch.maximum(pp, ww)
            e1, e2 = torch.exp(pp - p), torch.exp(ww - p)
            y[:, i] = (e1 * aa + e2 * v[:, i]) / (e1 * bb + e2)
            ww = w + pp
            p = torch.maximum(ww, k[:, i])
            e1, e2 = torch.exp(ww - p), torch.exp(k[:, i] - p)
            aa = e1 * aa + e2 * v[:, i]
            bb = e1 * bb + e2
            pp = p
        return x + self.output(r * y), torch.stack([aa, bb, pp], 1)


class RGLRU(nn.Module):
    """Griffin's real-gated linear recurrence beside a gelu branch."""

    def __init__(self) -> None:
        super().__init__()
        self.lam = nn.Parameter(torch.rand(H))
        self.r, self.i = nn.Linear(H, H), nn.Linear(H, H)

    def forward(self, x: Tensor) -> Tensor:
        r, i = torch.sigmoid(self.r(x)), torch.sigmoid(self.i(x))
        log_a = -8.0 * r * functional.softplus(self.lam)
        a = torch.exp(log_a)
        gated = torch.sqrt(-torch.expm1(2 * log_a)) * (i * x)
        h = gated[:, 0]
        hs = [h]
        for t in range(1, x.shape[1]):
            h = torch.addcmul(gated[:, t], a[:, t], h)
            hs.append(h)
        return torch.stack(hs, 1) * functional.gelu(x, approximate="tanh")


class LegendreUnit(nn.Module):
    """LMU after Voelker: matrices by zero-order hold, memory feeds the hidden state."""

    a: Tensor
    b: Tensor

    def __init__(self) -> None:
        super().__init__()
        order, theta = 4, 8.0
        q = torch.arange(order, dtype=torch.float64)
        r = (2 * q + 1)[:, None] / theta
        j, i = torch.meshgrid(q, q, indexing="xy")
        a = torch.where(i < j, -1.0, (-1.0) ** (i - j + 1)) * r
        full = torch.matrix_exp(a)
        self.register_buffer("a", full.float())
        self.register_buffer(
            "b",
            (torch.linalg.inv(a) @ (full - torch.eye(4)) @ (((-1.0) ** q)[:, None] * r)).float(),
        )
        self.e_x = nn.Parameter(torch.randn(1, F))
        self.e_h, self.e_m = (
            nn.Parameter(torch.randn(1, H)),
            nn.Parameter(torch.randn(1, order) * 0.1),
        )
        self.w_x, self.w_h = nn.Parameter(torch.randn(H, F)), nn.Parameter(torch.randn(H, H) * 0.3)
        self.w_m = nn.Parameter(torch.randn(H, order))

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h_t, m_t = torch.zeros(x.size(0), H), torch.zeros(x.size(0), 4)
        state, output = (h_t, m_t), []
        for t in range(x.size(1)):
            h, m = state
            u = (
                functional.linear(x[:, t, :], self.e_x)
                + functional.linear(h, self.e_h)
                + functional.linear(m, self.e_m)
            )
            m = functional.linear(m, self.a) + functional.linear(u, self.b)
            h = torch.tanh(
                functional.linear(x[:, t, :], self.w_x)
                + functional.linear(h, self.w_h)
                + functional.linear(m, self.w_m)
            )
            state = (h, m)
            output.append(h)
        return torch.stack(output).permute(1, 0, 2), state


class LayeredStateSpace(nn.Module):
    """Two blocks inside one step, states in a dict, residual and norm between."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(H, H) for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(H) for _ in range(2)])
        self.decay = nn.Parameter(torch.rand(2, H))

    def initial(self, batch: int) -> dict[str, Tensor]:
        return {f"layer{n}": torch.zeros(batch, H) for n in range(2)}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        states = self.initial(x.shape[0])
        ys = []
        for t in range(x.shape[1]):
            y = x[:, t]
            for n, (block, norm) in enumerate(zip(self.blocks, self.norms, strict=True)):
                key = f"layer{n}"
                states[key] = torch.sigmoid(self.decay[n]) * states[key] + block(norm(y))
                y = y + functional.gelu(states[key])
            ys.append(y)
        return {"y": torch.stack(ys, 1), **states}


CASES = [
    Case(HippoLegS, (X,)),
    Case(S4DRecurrent, (WIDE,)),
    Case(LinearRecurrentUnit, (X, floats("batch", 2, H))),
    Case(SelectiveScan, (WIDE,)),
    Case(SelectiveScanCumulative, (WIDE,)),
    Case(RWKVBlock, (WIDE,)),
    Case(RGLRU, (WIDE,)),
    Case(LegendreUnit, (X,)),
    Case(LayeredStateSpace, (WIDE,)),
]
