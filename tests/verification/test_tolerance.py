"""An answer may be off by a small multiple of what its dtype loses, and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from rnn_edge.verification.tolerance import compare

TRUTH = np.array([1.0, -100.0, 0.25])


def test_noise_is_the_error_of_torch_itself() -> None:
    own = (TRUTH + np.array([0, 3e-5, 0])).astype(np.float32)
    deviation = compare(own, own, TRUTH)
    assert deviation.noise == pytest.approx(3e-5, rel=0.1)
    assert deviation.tolerance == pytest.approx(4 * deviation.noise + 1e-6)
    assert deviation.error == deviation.noise
    assert deviation.allowed


def test_noise_is_at_least_the_rounding_of_the_largest_value() -> None:
    own = TRUTH.astype(np.float32)
    assert compare(own, own, TRUTH).noise == pytest.approx(100 * 2.0**-24)


@pytest.mark.parametrize(("off", "allowed"), [(2e-5, True), (3e-5, False)])
def test_limit_is_four_times_the_noise_and_a_millionth(off: float, allowed: bool) -> None:
    own = TRUTH.astype(np.float32)  # rounding noise 6e-6, so that 2.48e-5 is allowed
    found = own.copy()
    found[1] += np.float32(off)
    assert compare(found, own, TRUTH).allowed is allowed


def test_shape_and_dtype_must_be_equal() -> None:
    own = TRUTH.astype(np.float32)
    assert not compare(own[:2], own, TRUTH).allowed
    assert not compare(own.astype(np.float64), own, TRUTH).allowed


def test_infinities_and_nans_must_be_at_the_same_places() -> None:
    truth = np.array([np.nan, np.inf, 1.0])
    own = truth.astype(np.float32)
    assert compare(own, own, truth).allowed
    assert not compare(np.array([1, np.inf, 1], np.float32), own, truth).allowed
    assert not compare(np.array([np.nan, -np.inf, 1], np.float32), own, truth).allowed
    assert not compare(np.array([np.nan, np.inf, np.nan], np.float32), own, truth).allowed


def test_integers_must_be_equal() -> None:
    own = np.array([1, 2, 3])
    deviation = compare(np.array([1, 5, 4]), own, own)
    assert (deviation.error, deviation.allowed) == (2, False)
    assert compare(own, own, own).allowed
