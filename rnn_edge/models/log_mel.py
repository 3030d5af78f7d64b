"""Samples of sound to features, in front of a module that reads features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.contract import CtcDecoder, Decoder, is_written
from rnn_edge.frame_counts import FrameCounts, find_frame_counts
from rnn_edge.sound_features import (
    ADD,
    ALL,
    MAX,
    NEVER,
    NONE,
    REFLECT,
    SLOPES,
    TINY,
    SoundFeatures,
)


class SoundFeaturesModule(nn.Module):
    """``features``, as a module."""

    def __init__(self, features: SoundFeatures) -> None:
        super().__init__()
        self.features = features
        self.basis: Tensor
        self.bands: Tensor | None
        self.cosines: Tensor | None
        self.preemphasis: Tensor
        constants = {
            "basis": features.basis()[:, None],
            "bands": features.bands(),
            "cosines": features.cosines(),
            "preemphasis": np.array([[[-features.preemphasis, 1.0]]]),
        }
        for name, array in constants.items():
            value = None if array is None else torch.from_numpy(array).float()
            self.register_buffer(name, value, persistent=False)

    def forward(self, samples: Tensor, lengths: Tensor | None = None) -> Tensor:
        """float32[batch, samples] -> float32[batch, frames, width].

        With ``lengths`` int64[batch], those of each row, what stands behind them changes nothing,
        and frames behind the end are zeros.
        """
        if self.features.preemphasis:
            samples = F.conv1d(F.pad(samples.unsqueeze(1), (1, 0)), self.preemphasis).squeeze(1)
        found = self._bands(self._padded(samples, lengths))
        inside = None
        if lengths is not None:
            places = torch.arange(found.shape[1], device=found.device)
            inside = (places < self.frame_counts(lengths).unsqueeze(1)).unsqueeze(2)
        return self._over_rows(self._logarithms(found, inside), inside)

    def frame_counts(self, lengths: Tensor) -> Tensor:
        """int64[batch] samples -> int64[batch] frames; too few for one are one all the same."""
        known = self.features
        whole = lengths + sum(known.edges) - known.window
        return (whole // known.hop + 1).clamp(min=1)

    def _padded(self, samples: Tensor, lengths: Tensor | None) -> Tensor:
        """float32[batch, 1, samples] with what stands before the first and behind the last."""
        edges = self.features.edges
        reflect = self.features.center == REFLECT
        if lengths is None:
            return F.pad(samples.unsqueeze(1), edges, "reflect" if reflect else "constant")
        places = torch.arange(samples.shape[1], device=samples.device)
        ends = lengths.unsqueeze(1)
        samples = samples.masked_fill(places >= ends, 0.0)
        if not reflect:
            return F.pad(samples.unsqueeze(1), edges)
        before, behind = edges
        places = torch.arange(samples.shape[1] + before + behind, device=samples.device) - before
        mirrored = ends - 1 - (ends - 1 - places.abs()).abs()
        # Behind the end there is no frame.
        mirrored = mirrored.clamp(min=0)
        return samples.gather(1, mirrored).unsqueeze(1)

    def _bands(self, padded: Tensor) -> Tensor:
        basis = F.conv1d(padded, self.basis, stride=self.features.hop)
        real, imaginary = basis.chunk(2, dim=1)
        # Products: a power would be several times slower in ONNX Runtime.
        found = (real * real + imaginary * imaginary).transpose(1, 2)
        if self.features.power == 1:
            found = found.sqrt()
        return found if self.bands is None else found @ self.bands

    def _logarithms(self, found: Tensor, inside: Tensor | None) -> Tensor:
        known = self.features
        add = known.floor_by == ADD
        found = found + known.floor if add else found.clamp(min=known.floor)
        factor = known.log_factor()
        if factor is not None:
            found = torch.log(found)
            found = found if factor == 1 else found * factor
        if known.ref == MAX or known.top_db is not None:
            seen = found if inside is None else found.masked_fill(~inside, float("-inf"))
            largest = seen.amax(dim=(1, 2), keepdim=True)
            if known.top_db is not None:
                found = torch.maximum(found, largest - known.top_db)
            if known.ref == MAX:
                found = found - largest
        return found if self.cosines is None else found @ self.cosines

    def _over_rows(self, found: Tensor, inside: Tensor | None) -> Tensor:
        known = self.features
        if known.cmvn != NONE:
            largest = found.abs().amax(dim=2, keepdim=True)[:, :1]
            # What stays the same over a row is nothing then, and little rounding.
            found = found - found[:, :1]
            found = found - _mean(found, inside)
            if known.cmvn == ALL:
                spread = _mean(found * found, inside).sqrt()
                found = found / torch.maximum(spread, largest * known.least_deviation + TINY)
        if known.mean:
            found = found - known.mean
        if known.std != 1:
            found = found / known.std
        parts = [found]
        for _ in range(known.deltas):
            parts.append(_slopes(parts[-1], inside))
        found = torch.cat(parts, dim=2) if known.deltas else found
        return found if inside is None else found * inside


def _mean(rows: Tensor, inside: Tensor | None) -> Tensor:
    """Of [batch, frames, width] over the frames of each row."""
    if inside is None:
        return rows.mean(dim=1, keepdim=True)
    return (rows * inside).sum(dim=1, keepdim=True) / inside.sum(dim=1, keepdim=True)


def _slopes(rows: Tensor, inside: Tensor | None) -> Tensor:
    """Of [batch, frames, width] over time; the first and last frame stand beyond the ends."""
    if inside is not None:
        last = inside.sum(dim=1, keepdim=True) - 1
        rows = torch.where(inside, rows, rows.gather(1, last.expand(-1, -1, rows.shape[2])))
    size = rows.shape[1]
    begin, end = rows[:, :1], rows[:, -1:]
    wide = torch.cat([begin] * SLOPES + [rows] + [end] * SLOPES, dim=1)
    steps = range(1, SLOPES + 1)
    found = torch.zeros_like(rows)
    for step in steps:
        later, earlier = (wide[:, SLOPES + by : SLOPES + by + size] for by in (step, -step))
        found = found + step * (later - earlier)
    return found / (2 * sum(step * step for step in steps))


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
        counts = self.features.frame_counts(lengths)
        # As features of several sounds are padded, so that convolutions see what they have seen.
        found = self.module(self.features(samples, lengths), counts)
        if self.blank is None:
            return found
        first, *rest = found if isinstance(found, tuple) else (found,)
        places = torch.arange(first.shape[1], device=samples.device)
        labels = torch.arange(first.shape[2], device=samples.device)
        silence = torch.where(labels == self.blank, 0.0, NEVER)
        inside = places < self.given.of(counts).unsqueeze(1)
        first = torch.where(inside.unsqueeze(2), first, silence)
        return (first, *rest) if rest else first


class WritingOnSamples(nn.Module):
    """``module``, which takes features, the frames of each row and ids, on samples."""

    def __init__(self, features: SoundFeaturesModule, module: nn.Module) -> None:
        super().__init__()
        self.features, self.module = features, module

    def forward(self, samples: Tensor, lengths: Tensor, tokens: Tensor) -> object:
        """samples: float32[batch, samples], lengths: int64[batch], tokens: int64[batch, sequence].

        What stands behind a row's length changes nothing.
        """
        counts = self.features.frame_counts(lengths)
        return self.module(self.features(samples, lengths), counts, tokens)


class WritingOnWholeSamples(WritingOnSamples):
    """The same of a ``module`` that takes no lengths."""

    def forward(self, samples: Tensor, tokens: Tensor) -> object:  # type: ignore[override]
        return self.module(self.features(samples), tokens)


def put_on_samples(
    features: SoundFeatures, module: nn.Module, reads_lengths: bool, decoder: Decoder | None
) -> nn.Module:
    """``module`` behind ``features``; ``decoder`` reads what it gives."""
    before = SoundFeaturesModule(features)
    if is_written(decoder):
        kind = WritingOnSamples if reads_lengths else WritingOnWholeSamples
        return kind(before, module)
    if not isinstance(decoder, CtcDecoder):
        return OnSamples(before, module, reads_lengths)
    given = find_frame_counts(lambda frames: _count(module, frames, features.width, reads_lengths))
    blank = decoder.blank if reads_lengths else None
    return OnSamples(before, module, reads_lengths, blank, given)


def _count(module: nn.Module, frames: int, width: int, reads_lengths: bool) -> int | None:
    """Frames that ``module`` gives for ``frames`` of features; None where it takes no so many."""
    lengths = (torch.tensor([frames]),) if reads_lengths else ()
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            found = module(torch.zeros(1, frames, width), *lengths)
    except Exception:  # noqa: BLE001 (forward() is the user's: it may raise anything)
        return None
    finally:
        for part, mode in modes.items():
            part.training = mode
    first = found[0] if isinstance(found, tuple | list) else found
    return first.shape[1] if isinstance(first, Tensor) and first.dim() == 3 else None
