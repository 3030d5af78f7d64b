"""Recurrences over complex numbers, as state space models have them."""

from __future__ import annotations

import math

import torch
from collection.case import Case, floats
from torch import Tensor, nn

F, N = 4, 5
X = floats("batch", "sequence", F)


class ComplexRecurrentUnit(nn.Module):
    """A complex diagonal state in a loop, complex weights, the real part of the output."""

    def __init__(self) -> None:
        super().__init__()
        self.nu, self.theta = nn.Parameter(torch.rand(N)), nn.Parameter(3 * torch.rand(N))
        self.gamma, self.skip = nn.Parameter(torch.rand(N)), nn.Parameter(torch.randn(F))
        self.into = nn.Parameter(torch.randn(N, F, dtype=torch.cfloat))
        self.out = nn.Parameter(torch.randn(F, N, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        factor = torch.exp(torch.complex(-torch.exp(self.nu), self.theta))
        driven = x.to(self.into.dtype) @ (self.into * self.gamma.unsqueeze(-1)).t()
        h = torch.zeros(x.size(0), N, dtype=torch.cfloat)
        outputs = []
        for t in range(x.size(1)):
            h = factor * h + driven[:, t]
            outputs.append((h @ self.out.t()).real)
        return torch.stack(outputs, 1) + self.skip * x


class DiagonalKernel(nn.Module):
    """S4D: a kernel as long as the sequence from a Vandermonde matrix, applied as a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Parameter(torch.randn(F, N, 2))
        self.log_step = nn.Parameter(torch.rand(F) - 2)
        self.log_decay = nn.Parameter(torch.full((F, N), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(N).float().repeat(F, 1))

    def forward(self, x: Tensor) -> Tensor:
        places, step = torch.arange(x.size(1)), torch.exp(self.log_step).unsqueeze(-1)
        a = -torch.exp(self.log_decay) + 1j * self.frequency
        c = torch.view_as_complex(self.out) * (torch.exp(a * step) - 1.0) / a
        powers = torch.exp((a * step).unsqueeze(-1) * places)
        kernel = 2 * torch.einsum("hn,hnl->hl", c, powers).real
        behind = places[:, None] - places[None]
        matrix = kernel[:, behind.clamp(min=0)] * (behind >= 0)
        return torch.einsum("hij,bjh->bih", matrix, x)


class Rotations(nn.Module):
    """Features in pairs turned by an angle that grows with time, then a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.speed, self.rnn = nn.Parameter(torch.rand(F // 2)), nn.GRU(F, N, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:2], F // 2, 2))
        angles = torch.arange(x.size(1)).unsqueeze(1) * self.speed
        turned = pairs * torch.polar(torch.ones_like(angles), angles).conj()
        return self.rnn(torch.view_as_real(turned).flatten(2))[0], (turned**2).abs()


CASES = [
    Case(ComplexRecurrentUnit, (X,)),
    Case(DiagonalKernel, (X,)),
    Case(Rotations, (X,)),
]
