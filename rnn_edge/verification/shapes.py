"""The sizes of dynamic axes at which a graph is tried: few, but those where exports break."""

from __future__ import annotations

from collections.abc import Mapping

BATCH_AXIS = "batch"
_PRIMES = (7, 11, 13)
# Ten times a long example would cost more than it could show.
_LONGEST = 1000
# (batch, which length): a prime, 2, 1 or the long one, which costs most and is tried once.
_PRIME, _TWO, _ONE, _LONG = range(4)
_CASES = (
    (2, _PRIME),
    (1, _ONE),
    (5, _TWO),
    (2, _LONG),
    (1, _PRIME),
    (5, _ONE),
    (1, _TWO),
)


def sizes_to_try(traced: Mapping[str, int]) -> list[dict[str, int]]:
    """Sizes of every axis, none of which is the one at which it was traced but by chance.

    Batch: 1, 2, 5. Every other axis: 1, 2, a prime, and ten times the traced size, different from
    axis to axis. The easiest case, neither 1 nor long, comes first.
    """
    others = [axis for axis in traced if axis != BATCH_AXIS]
    lengths = {axis: _lengths(traced[axis], place) for place, axis in enumerate(others)}
    cases = []
    for batch, step in _CASES:
        sizes = {axis: lengths[axis][(step + place) % 4] for place, axis in enumerate(others)}
        if BATCH_AXIS in traced:
            sizes[BATCH_AXIS] = batch
        if sizes not in cases:
            cases.append(sizes)
    return cases


def _lengths(traced: int, place: int) -> tuple[int, int, int, int]:
    """By the constants above; another prime for each axis."""
    primes = [prime for prime in _PRIMES if prime != traced]
    longest = max(min(10 * traced, _LONGEST), traced + primes[0])
    return primes[place % len(primes)], 2, 1, longest
