"""Samples of sound to features, in front of a module that reads features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.contract import CtcDecoder, Decoder
from rnn_edge.frame_counts import FrameCounts, find_frame_counts
from rnn_edge.sound_features import NEVER, SoundFeatures


class SoundFeaturesModule(nn.Module):
    """``features``, as a module."""

    def __init__(self, features: SoundFeatures) -> None:
        super().__init__()
        self.features = features
        self.basis: Tensor
        self.bands: Tensor
        self.cosines: Tensor | None
        constants = {"basis": features.basis()[:, None], "bands": features.bands()}
        for name, array in {**constants, "cosines": features.cosines()}.items():
            value = None if array is None else torch.from_numpy(array).float()
            self.register_buffer(name, value, persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """float32[batch, samples] -> float32[batch, frames, width]."""
        padded = F.pad(samples.unsqueeze(1), (self.features.padding, 0))
        basis = F.conv1d(padded, self.basis, stride=self.features.hop)
        real, imaginary = basis.chunk(2, dim=1)
        # Products: a power would be several times slower in ONNX Runtime.
        energies = real * real + imaginary * imaginary
        logarithms = torch.log(energies.transpose(1, 2) @ self.bands + self.features.floor)
        return logarithms if self.cosines is None else logarithms @ self.cosines

    def frame_counts(self, lengths: Tensor) -> Tensor:
        """int64[batch] samples -> int64[batch] frames; too few for one are one all the same."""
        known = self.features
        return ((lengths + known.padding - known.window) // known.hop + 1).clamp(min=1)


class LogMel(SoundFeaturesModule):
    """Log energies of bands; the arguments are those of SoundFeatures."""

    def __init__(self, rate: int, n_mels: int = 40, *options: Any, **named: Any) -> None:
        super().__init__(SoundFeatures(rate, n_mels, *options, **named))


class Mfcc(SoundFeaturesModule):
    """Mel-frequency cepstral coefficients; the other arguments are those of SoundFeatures."""

    def __init__(self, rate: int, n_mfcc: int = 13, **named: Any) -> None:
        super().__init__(SoundFeatures(rate, n_mfcc=n_mfcc, **named))


class OnSamples(nn.Module):
    """``module``, which takes features and the frames of each row, on samples and their number.

    With ``reads_lengths`` False, ``module`` takes features alone. ``blank`` is the label of a
    module that gives log-probabilities [batch, frames, labels]: behind its end a row says that for
    certain. ``given`` are the frames that it gives for those of the features.
    """

    def __init__(
        self,
        features: SoundFeaturesModule,
        module: nn.Module,
        reads_lengths: bool,
        blank: int | None = None,
        given: FrameCounts | None = None,
    ) -> None:
        super().__init__()
        self.features, self.module, self.reads_lengths = features, module, reads_lengths
        self.blank, self.given = blank, given or FrameCounts()

    def forward(self, samples: Tensor, lengths: Tensor | None = None) -> object:
        """samples: float32[batch, sequence] from -1 to 1, lengths: int64[batch].

        What stands behind a row's length changes nothing.
        """
        if lengths is None:
            return self.module(self.features(samples))
        places = torch.arange(samples.shape[1], device=samples.device)
        samples = samples.masked_fill(places >= lengths.unsqueeze(1), 0.0)
        counts = self.features.frame_counts(lengths)
        features = self.features(samples)
        places = torch.arange(features.shape[1], device=samples.device)
        # As features of several sounds are padded, so that convolutions see what they have seen.
        features = features * (places < counts.unsqueeze(1)).unsqueeze(2)
        found = self.module(features, counts)
        if self.blank is None:
            return found
        first, *rest = found if isinstance(found, tuple) else (found,)
        places = torch.arange(first.shape[1], device=samples.device)
        labels = torch.arange(first.shape[2], device=samples.device)
        silence = torch.where(labels == self.blank, 0.0, NEVER)
        inside = places < self.given.of(counts).unsqueeze(1)
        first = torch.where(inside.unsqueeze(2), first, silence)
        return (first, *rest) if rest else first


def put_on_samples(
    features: SoundFeatures, module: nn.Module, reads_lengths: bool, decoder: Decoder | None
) -> OnSamples:
    """``module`` behind ``features``; ``decoder`` reads what it gives."""
    before = SoundFeaturesModule(features)
    if not isinstance(decoder, CtcDecoder):
        return OnSamples(before, module, reads_lengths)
    given = find_frame_counts(lambda frames: _count(module, frames, features.width, reads_lengths))
    blank = decoder.blank if reads_lengths else None
    return OnSamples(before, module, reads_lengths, blank, given)


def _count(module: nn.Module, frames: int, width: int, reads_lengths: bool) -> int | None:
    """Frames that ``module`` gives for ``frames`` of features; None where it takes no so many."""
    lengths = (torch.tensor([frames]),) if reads_lengths else ()
    trained = module.training
    module.eval()
    try:
        with torch.no_grad():
            found = module(torch.zeros(1, frames, width), *lengths)
    except Exception:  # noqa: BLE001 (forward() is the user's: it may raise anything)
        return None
    finally:
        module.train(trained)
    first = found[0] if isinstance(found, tuple | list) else found
    return first.shape[1] if isinstance(first, Tensor) and first.dim() == 3 else None
