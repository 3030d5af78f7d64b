"""Samples of sound to log-mel features, in front of a module that reads features."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.models.speech_recognizer import mel


class LogMel(nn.Module):
    """Logarithms of the energies in ``n_mels`` bands of every frame of ``window`` samples.

    Frames begin every ``hop`` samples, the first ``padding`` zeros before the first sample; there
    are no frames beyond the last sample. A frame is weighted with a Hann window (periodic, as
    torch.hann_window has it), filled up with zeros to ``n_fft`` samples, and its power spectrum
    summed by triangles of height 1 between ``low`` and ``high`` hertz, evenly spaced on the HTK mel
    scale. ``floor`` is added to each energy; the logarithm is natural.
    """

    def __init__(
        self,
        rate: int,
        n_mels: int = 40,
        window: int = 400,
        hop: int = 160,
        n_fft: int | None = None,
        low: float = 0.0,
        high: float | None = None,
        floor: float = 1e-6,
        padding: int = 0,
    ) -> None:
        super().__init__()
        self.window, self.hop, self.floor, self.padding = window, hop, floor, padding
        size = n_fft or window
        highest = rate / 2 if high is None else high
        self.basis: Tensor
        self.bands: Tensor
        self.register_buffer("basis", _basis(window, size), persistent=False)
        bands = _bands(rate, size, n_mels, low, highest)
        self.register_buffer("bands", bands, persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """float32[batch, samples] -> float32[batch, frames, n_mels]."""
        padded = F.pad(samples.unsqueeze(1), (self.padding, 0))
        real, imaginary = F.conv1d(padded, self.basis, stride=self.hop).chunk(2, dim=1)
        # Products: a power would be several times slower in ONNX Runtime.
        energies = real * real + imaginary * imaginary
        return torch.log(energies.transpose(1, 2) @ self.bands + self.floor)

    def frame_counts(self, lengths: Tensor) -> Tensor:
        """int64[batch] samples -> int64[batch] frames; too few for one are one all the same."""
        return ((lengths + self.padding - self.window) // self.hop + 1).clamp(min=1)


class OnSamples(nn.Module):
    """``module``, which takes features and the frames of each row, on samples and their number.

    With ``reads_lengths`` False, ``module`` takes features alone.
    """

    def __init__(self, features: LogMel, module: nn.Module, reads_lengths: bool) -> None:
        super().__init__()
        self.features, self.module, self.reads_lengths = features, module, reads_lengths

    def forward(self, samples: Tensor, lengths: Tensor | None = None) -> object:
        """samples: float32[batch, sequence] from -1 to 1, lengths: int64[batch].

        What stands behind a row's length changes nothing.
        """
        if lengths is None:
            return self.module(self.features(samples))
        places = torch.arange(samples.shape[1], device=samples.device)
        samples = samples.masked_fill(places >= lengths.unsqueeze(1), 0.0)
        return self.module(self.features(samples), self.features.frame_counts(lengths))


def _basis(window: int, size: int) -> Tensor:
    """float32[2 * bins, 1, window]: cosines, then sines, of the frequencies of ``size`` samples."""
    steps = torch.arange(window, dtype=torch.float64)
    hann = torch.hann_window(window, dtype=torch.float64)
    angles = 2 * math.pi / size * torch.outer(torch.arange(size // 2 + 1.0).double(), steps)
    return (torch.cat([angles.cos(), angles.sin()]) * hann).unsqueeze(1).float()


def _bands(rate: int, size: int, count: int, low: float, high: float) -> Tensor:
    """float32[bins, bands]: triangles that overlap by half, evenly spaced on the mel scale."""
    lowest, highest = mel(torch.tensor([low, high], dtype=torch.float64)).tolist()
    steps = torch.linspace(lowest, highest, count + 2, dtype=torch.float64)
    corners = mel(steps, inverse=True)
    frequencies = torch.arange(size // 2 + 1).double().unsqueeze(1) * (rate / size)
    rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    return torch.minimum(rising, falling).clamp(min=0.0).float()
