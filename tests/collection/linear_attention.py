"""Attention as a recurrence: RetNet, linear attention with and without decay, delta rule."""

from __future__ import annotations

import torch
from collection.case import Case, floats
from torch import Tensor, nn
from torch.nn import functional

F, H, N = 3, 4, 2
X = floats("batch", "sequence", F)
WIDE = floats("batch", "sequence", H)


class RetentionRecurrent(nn.Module):
    """RetNet in its recurrent form, two heads with a fixed decay each, group norm on top."""

    gamma: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.wq, self.wk, self.wv = (nn.Parameter(torch.randn(2, H, N) * 0.5) for _ in range(3))
        self.norm, self.wg, self.wo = (
            nn.GroupNorm(2, 2 * N),
            nn.Linear(H, 2 * N),
            nn.Linear(2 * N, H),
        )
        self.register_buffer("gamma", 1 - 2.0 ** (-2.0 - torch.arange(2.0)))

    def forward(self, x: Tensor) -> Tensor:
        s = x.new_zeros(x.shape[0], 2, N, N)
        ys = []
        for t in range(x.shape[1]):
            xt = x[:, t]
            heads = []
            states = []
            for h in range(2):
                q, k, v = xt @ self.wq[h], xt @ self.wk[h], xt @ self.wv[h]
                new = self.gamma[h] * s[:, h] + k.unsqueeze(2) @ v.unsqueeze(1)
                heads.append((q.unsqueeze(1) @ new).squeeze(1))
                states.append(new)
            s = torch.stack(states, 1)
            y = self.norm(torch.cat(heads, dim=-1))
            ys.append(self.wo(functional.silu(self.wg(xt)) * y))
        return torch.stack(ys, 1)


class RetentionParallel(nn.Module):
    """RetNet in its parallel form: a decay matrix from positions."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(F, H), nn.Linear(F, H), nn.Linear(F, H)

    def forward(self, x: Tensor) -> Tensor:
        n = torch.arange(x.shape[1]).unsqueeze(1)
        m = torch.arange(x.shape[1]).unsqueeze(0)
        d = (0.9 ** (n - m)) * (n >= m).float()
        d = torch.where(n >= m, d, torch.zeros_like(d))
        return (self.q(x) @ self.k(x).transpose(1, 2) * d.unsqueeze(0)) @ self.v(x)


class LinearAttention(nn.Module):
    """Causal linear attention with elu + 1 features and a normaliser."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(F, 3 * H)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        q, k = functional.elu(q) + 1, functional.elu(k) + 1
        s = torch.zeros(x.size(0), H, H)
        z = torch.zeros(x.size(0), H)
        out = []
        for t in range(x.size(1)):
            s = torch.baddbmm(s, k[:, t].unsqueeze(2), v[:, t].unsqueeze(1))
            z = z + k[:, t]
            den = torch.einsum("bd,bd->b", q[:, t], z).clamp(min=1e-6)
            out.append(torch.einsum("bd,bde->be", q[:, t], s) / den.unsqueeze(-1))
        return torch.stack(out, dim=1)


class GatedLinearAttention(nn.Module):
    """A decay for every key channel; the state goes in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(F, H), nn.Linear(F, H), nn.Linear(F, N)
        self.g = nn.Sequential(nn.Linear(F, 2), nn.Linear(2, H))

    def forward(self, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self.q(x), self.k(x), self.v(x)
        g = functional.logsigmoid(self.g(x)) / 16
        outs = []
        for i in range(x.shape[-2]):
            s = s * g[:, i].exp()[..., None] + k[:, i][..., None] * v[:, i][..., None, :]
            outs += [(q[:, i][..., None] * s).sum(-2)]
        return torch.stack(outs, -2), s


class DeltaNet(nn.Module):
    """The delta rule with writing strength, in place on a state matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(F, H), nn.Linear(F, H), nn.Linear(F, H)
        self.beta = nn.Linear(F, 1)

    def forward(self, x: Tensor) -> Tensor:
        q = functional.normalize(functional.silu(self.q(x)), p=2.0, dim=-1)
        k = functional.normalize(functional.silu(self.k(x)), p=2.0, dim=-1)
        v, beta = self.v(x), self.beta(x).sigmoid()
        o = torch.zeros_like(v)
        s = torch.zeros(x.size(0), H, H).to(v)
        for i in range(x.size(1)):
            k_i, v_i = k[:, i], v[:, i].clone()
            v_i = v_i - (s * k_i[..., None]).sum(-2)
            v_i = v_i * beta[:, i]
            s = s.clone() + k_i.unsqueeze(-1) * v_i.unsqueeze(-2)
            o[:, i] = torch.einsum("bd,bdm->bm", q[:, i], s)
        return o


CASES = [
    Case(RetentionRecurrent, (WIDE,)),
    Case(RetentionParallel, (X,)),
    Case(LinearAttention, (X,)),
    Case(GatedLinearAttention, (X, floats("batch", H, N))),
    Case(DeltaNet, (X,)),
]
