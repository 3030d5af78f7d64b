"""Samples of sound in, log-probabilities of labels a frame out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.models.layers import read_rows
from rnn_edge.models.recurrent import core_features, recurrent_core
from rnn_edge.sound_features import NEVER

# Seconds that a frame sees and that lie between frames.
WINDOW, HOP = 0.025, 0.010
# Added to the energy of a band: below the noise of 16 bits, and above that of float32.
FLOOR = 1e-5
# Frames that become one before the recurrent core.
STRIDE = 2


class LogMel(nn.Module):
    """Log energies of bands that are as wide as hearing has them, by a convolution.

    Its kernel holds the sines and cosines of a discrete Fourier transform under a Hann window. A
    frame sees the samples up to its own, zeros before the first: nothing of the future.
    """

    def __init__(self, rate: int, bands: int) -> None:
        super().__init__()
        self.window, self.hop = round(WINDOW * rate), round(HOP * rate)
        self.basis: Tensor
        self.bands: Tensor
        self.register_buffer("basis", fourier_basis(self.window), persistent=False)
        self.register_buffer("bands", mel_bands(rate, self.window, bands), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """float32[batch, sequence] -> float32[batch, sequence // hop, bands]."""
        padded = F.pad(samples.unsqueeze(1), (self.window - self.hop, 0))
        real, imaginary = F.conv1d(padded, self.basis, stride=self.hop).chunk(2, dim=1)
        # Products: a power would be several times slower in ONNX Runtime.
        energies = real * real + imaginary * imaginary
        return torch.log(energies.transpose(1, 2) @ self.bands + FLOOR)


class SpeechRecognizer(nn.Module):
    """LogMel, a convolution that halves the frames, recurrent core, linear head on every frame.

    ``mean`` and ``std``, one number a band, normalise the energies. Label 0 is the blank of
    connectionist temporal classification.
    """

    def __init__(
        self,
        rate: int,
        mean: Sequence[float],
        std: Sequence[float],
        labels: int,
        *,
        cell: str,
        hidden_size: int,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.features = LogMel(rate, len(mean))
        self.stride = frame_length(rate)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.convolution = nn.Conv1d(len(mean), hidden_size, STRIDE + 1, STRIDE)
        self.dropout = nn.Dropout(dropout)
        self.core = recurrent_core(cell, hidden_size, hidden_size, dropout=dropout, **options)
        self.head = nn.Linear(core_features(self.core), labels)

    def forward(self, samples: Tensor, lengths: Tensor | None = None) -> Tensor:
        """samples: float32[batch, sequence], ``stride`` or more; lengths: int64[batch].

        Returns log-probabilities: float32[batch, sequence // stride, labels]. A row has
        lengths // stride valid frames, 1 or more; behind them the blank is certain, and what
        stands behind a row's length changes nothing. Without lengths all rows are whole.
        """
        if lengths is None:
            return self._said(samples, None)
        places = torch.arange(samples.shape[1], device=samples.device)
        sounds = samples.masked_fill(places >= lengths.unsqueeze(1), 0.0)
        counts = self.frame_counts(lengths)
        said = self._said(sounds, counts)
        steps = torch.arange(said.shape[1], device=said.device)
        behind = (steps >= counts.unsqueeze(1)).unsqueeze(2)
        silence = torch.full_like(said[:1, :1], NEVER)
        silence[:, :, 0] = 0.0
        return torch.where(behind, silence, said)

    def _said(self, samples: Tensor, counts: Tensor | None) -> Tensor:
        bands = (self.features(samples) - self.mean) / self.std
        frames = torch.relu(self.convolution(F.pad(bands.transpose(1, 2), (1, 0)))).transpose(1, 2)
        states, _ = read_rows(self.core, self.dropout(frames), counts)
        return self.head(self.dropout(states)).log_softmax(dim=2)

    def frame_counts(self, lengths: Tensor) -> Tensor:
        """Valid frames of rows of ``lengths`` samples: int64[batch]."""
        return (lengths // self.stride).clamp(min=1)


def frame_length(rate: int) -> int:
    """Samples of one frame of the output."""
    return STRIDE * round(HOP * rate)


def fourier_basis(window: int) -> Tensor:
    """float32[2 * bins, 1, window]: cosines, then sines, of all whole frequencies."""
    steps = torch.arange(window, dtype=torch.float64)
    hann = 0.5 - 0.5 * torch.cos(2 * math.pi * (steps + 0.5) / window)
    angles = 2 * math.pi / window * torch.outer(torch.arange(window // 2 + 1.0), steps)
    return (torch.cat([angles.cos(), angles.sin()]) * hann).unsqueeze(1).float()


def mel_bands(rate: int, window: int, bands: int) -> Tensor:
    """float32[bins, bands]: triangles that overlap by half, evenly spaced on the mel scale."""
    highest = mel(torch.tensor(rate / 2))
    corners = mel(torch.linspace(0.0, float(highest), bands + 2), inverse=True)
    frequencies = torch.arange(window // 2 + 1).unsqueeze(1) * (rate / window)
    rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    return torch.minimum(rising, falling).clamp(min=0.0)


def mel(values: Tensor, inverse: bool = False) -> Tensor:
    """Hertz to mel, 2595 log10(1 + f / 700), or back."""
    if inverse:
        return 700 * (10 ** (values / 2595) - 1)
    return 2595 * torch.log10(1 + values / 700)
