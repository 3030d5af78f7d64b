"""Connectionist temporal classification: log-probabilities a frame -> the labels that were said."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

# A label this much less likely than the likeliest of its frame begins no branch of a beam.
_NEGLIGIBLE = 12.0


@dataclass(frozen=True)
class Hypothesis:
    """``labels`` without blanks, and the logarithm of their probability."""

    labels: tuple[int, ...]
    log_probability: float


def likeliest_frames(log_probabilities: np.ndarray, blank: int) -> list[tuple[int, int]]:
    """Greedy decoding of float[frames, labels]: each label that is said, and its first frame."""
    best = log_probabilities.argmax(axis=1)
    changes = np.flatnonzero(np.diff(best, prepend=blank))
    return [(int(best[frame]), int(frame)) for frame in changes if best[frame] != blank]


def greedy(log_probabilities: np.ndarray, blank: int) -> Hypothesis:
    """The likeliest label of every frame, repeats and blanks left out: one path's probability."""
    labels = tuple(label for label, _ in likeliest_frames(log_probabilities, blank))
    return Hypothesis(labels, float(log_probabilities.max(axis=1).sum()))


def beam_search(log_probabilities: np.ndarray, blank: int, width: int) -> list[Hypothesis]:
    """Prefix beam search over float[frames, labels]: up to ``width`` texts, the likeliest first.

    A text's probability is that of all paths that give it, as far as they stay in the beam.
    """
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -np.inf)}
    for frame in log_probabilities.astype(np.float64):
        likely = np.flatnonzero(frame > frame.max() - _NEGLIGIBLE).tolist()
        ends: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [-np.inf, -np.inf])
        for prefix, (in_blank, in_label) in beam.items():
            total = np.logaddexp(in_blank, in_label)
            stay = ends[prefix]
            stay[0] = np.logaddexp(stay[0], total + frame[blank])
            if prefix:
                stay[1] = np.logaddexp(stay[1], in_label + frame[prefix[-1]])
            for label in likely:
                if label != blank:
                    # The same label once more needs a blank between.
                    before = in_blank if prefix and label == prefix[-1] else total
                    longer = ends[(*prefix, label)]
                    longer[1] = np.logaddexp(longer[1], before + frame[label])
        # A label twice without a blank between has no path yet.
        possible = [(prefix, parts) for prefix, parts in ends.items() if max(parts) > -np.inf]
        possible.sort(key=lambda item: -np.logaddexp(item[1][0], item[1][1]))
        beam = {prefix: (parts[0], parts[1]) for prefix, parts in possible[:width]}
    return [Hypothesis(labels, float(np.logaddexp(*parts))) for labels, parts in beam.items()]
