"""Random inputs stay inside what the contract and the example allow."""

from __future__ import annotations

import numpy as np

from rnn_edge.contract import GraphContract, TensorSpec
from rnn_edge.verification.sampling import sample_inputs

SIZES = {"batch": 5, "sequence": 9}


def sample(spec: TensorSpec, example: np.ndarray, **options: bool) -> np.ndarray:
    contract = GraphContract("model.onnx", (spec,), ())
    random = np.random.default_rng(0)
    return sample_inputs(contract, {spec.name: example}, SIZES, random, **options)[spec.name]


def test_values_come_from_the_example() -> None:
    spec = TensorSpec("x", "float32", ("batch", "sequence", 2))
    found = sample(spec, np.array([[[0.5, 2.0]]], np.float32))
    assert found.shape == (5, 9, 2)
    assert found.dtype == np.float32
    assert set(np.unique(found)) == {0.5, 2.0}


def test_fractions_of_many_values_do_not_repeat() -> None:
    spec = TensorSpec("x", "float32", ("batch", "sequence", 2))
    example = np.linspace(0.1, 0.9, 24, dtype=np.float32).reshape(2, 6, 2)
    found = sample(spec, example)
    assert np.unique(found).size == found.size
    assert 0.1 <= found.min() < 0.2 < 0.8 < found.max() <= 0.9
    flags = (example > 0.5).astype(np.float32)
    assert set(np.unique(sample(spec, flags))) == {0.0, 1.0}


def test_constant_example_gives_way_to_other_numbers() -> None:
    found = sample(TensorSpec("h_0", "float32", (1, "batch", 3)), np.zeros((1, 2, 3), np.float32))
    assert np.count_nonzero(found) == found.size


def test_bounded_integers_reach_both_bounds() -> None:
    spec = TensorSpec("ids", "int64", ("batch", "sequence"), minimum=2, maximum=4)
    assert set(np.unique(sample(spec, np.zeros((1, 1), np.int64)))) == {2, 3, 4}


def test_lengths_hold_one_and_the_full_size() -> None:
    spec = TensorSpec("lengths", "int32", ("batch",), lengths_of="sequence")
    found = sample(spec, np.ones(1, np.int32))
    assert (found.min(), found.max(), found.dtype) == (1, 9, np.int32)


def test_lengths_fall_when_asked() -> None:
    spec = TensorSpec("lengths", "int64", ("batch",), lengths_of="sequence")
    found = sample(spec, np.ones(1, np.int64), sort_lengths=True)
    assert (np.diff(found) <= 0).all()
    assert (found[0], found[-1]) == (9, 1)


def test_small_integers_are_at_most_the_shortest_axis() -> None:
    spec = TensorSpec("places", "int64", ("batch",))
    contract = GraphContract("model.onnx", (spec,), ())
    random = np.random.default_rng(0)
    found = sample_inputs(
        contract, {"places": np.array([1, 8, 9])}, {"batch": 9, "sequence": 3}, random,
        small_integers=True,
    )["places"]  # fmt: skip
    assert set(np.unique(found)) == {1, 3}


def test_masks_have_a_valid_step_in_every_row() -> None:
    spec = TensorSpec("mask", "bool", ("batch", "sequence"))
    for valid in (True, False):
        example = np.full((2, 40), not valid)
        example[:, 0] = valid
        found = sample(spec, example)
        assert (found == valid).any(axis=1).all()
        assert (found != valid).any()
        time_major = TensorSpec("mask", "bool", ("sequence", "batch"))
        assert (sample(time_major, example.T) == valid).any(axis=0).all()
