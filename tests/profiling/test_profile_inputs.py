"""Random inputs keep to the contract, and the grid to its limits."""

import numpy as np
import pytest

from rnn_edge.contract import DTYPES, AxisLimits, GraphContract, StatePair, TensorSpec
from rnn_edge.errors import InputError
from rnn_edge.profiling.inputs import Point, axis_sizes, grid, random_inputs
from rnn_edge.runtime.feed import Feed

SIZES = {"batch": 50, "sequence": 30}


def contract_of(*inputs: TensorSpec, **axes: AxisLimits) -> GraphContract:
    return GraphContract("model.onnx", inputs, (), axes=axes)


def one(spec: TensorSpec) -> np.ndarray:
    return random_inputs(contract_of(spec), SIZES, np.random.default_rng(0))[spec.name]


@pytest.mark.parametrize("dtype", DTYPES)
def test_array_has_the_dtype_and_shape_of_its_tensor(dtype: str) -> None:
    array = one(TensorSpec("x", dtype, ("batch", 3, "sequence")))
    assert array.shape == (50, 3, 30)
    assert array.dtype.kind == "U" if dtype == "string" else array.dtype == dtype


def test_bounded_ids_reach_both_bounds_and_no_further() -> None:
    array = one(TensorSpec("tokens", "int64", ("batch", "sequence"), minimum=3, maximum=7))
    assert np.unique(array).tolist() == [3, 4, 5, 6, 7]


def test_unbounded_ids_are_the_two_that_any_table_has() -> None:
    assert np.unique(one(TensorSpec("tokens", "int64", ("batch", "sequence")))).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("minimum", "maximum"), [(0, 255), (-0.5, 0.25), (0.1, None), (None, -0.1)]
)
def test_bounded_numbers_stay_within(minimum: float | None, maximum: float | None) -> None:
    array = one(TensorSpec("x", "float32", ("batch", "sequence"), "", minimum, maximum))
    assert minimum is None or array.min() >= np.float32(minimum)
    assert maximum is None or array.max() <= np.float32(maximum)
    assert len(np.unique(array)) > 100


def test_lengths_are_ragged_with_one_row_whole() -> None:
    lengths = one(TensorSpec("lengths", "int64", ("batch",), lengths_of="sequence"))
    assert lengths[0] == lengths.max() == 30
    assert lengths.min() >= 1
    assert len(np.unique(lengths)) > 5


def test_lengths_keep_above_their_own_minimum() -> None:
    spec = TensorSpec("lengths", "int64", ("batch",), minimum=20, lengths_of="sequence")
    assert one(spec).min() >= 20


def test_every_call_gets_other_numbers_and_a_seed_gives_them_again() -> None:
    contract = contract_of(TensorSpec("x", "float32", ("batch", "sequence")))
    first, second = np.random.default_rng(7), np.random.default_rng(7)
    one_feed = random_inputs(contract, SIZES, first)["x"]
    assert not np.array_equal(one_feed, random_inputs(contract, SIZES, first)["x"])
    assert np.array_equal(one_feed, random_inputs(contract, SIZES, second)["x"])


def test_session_takes_what_was_drawn_states_included() -> None:
    contract = GraphContract(
        "model.onnx",
        (
            TensorSpec("tokens", "int64", ("batch", "sequence"), "", 2, 9),
            TensorSpec("lengths", "int32", ("batch",), lengths_of="sequence"),
            TensorSpec("h_0", "float32", (2, "batch", 4)),
        ),
        (TensorSpec("h_n", "float32", (2, "batch", 4)),),
        states=(StatePair("h_0", "h_n", 1),),
    )
    feed = random_inputs(contract, SIZES, np.random.default_rng(0))
    checked = Feed(contract).build(feed)
    assert checked["h_0"].shape == (2, 50, 4)
    assert np.ptp(checked["h_0"]) > 0


X = TensorSpec("x", "float32", ("batch", "sequence", 2))


def test_grid_is_every_pair_of_the_sizes() -> None:
    points = grid(contract_of(X), [1, 4], [2, 3])
    assert points == [Point(1, 2), Point(1, 3), Point(4, 2), Point(4, 3)]


def test_default_grid_keeps_within_the_limits() -> None:
    contract = contract_of(X, sequence=AxisLimits(4, 20), batch=AxisLimits(1, 1))
    assert grid(contract) == [Point(1, 4), Point(1, 10), Point(1, 20)]


def test_fixed_axes_have_no_size_in_the_grid() -> None:
    image = TensorSpec("image", "float32", ("batch", 8, 8))
    assert grid(contract_of(image), [3]) == [Point(3, None)]


def test_size_outside_the_limits_is_refused() -> None:
    with pytest.raises(InputError, match="sequence sizes must be 4 to 20, got 21"):
        grid(contract_of(X, sequence=AxisLimits(4, 20)), sequences=[5, 21])


def test_size_0_is_refused_even_where_a_contract_allows_it() -> None:
    with pytest.raises(InputError, match="batch sizes must be 1"):
        grid(contract_of(X, batch=AxisLimits(0)), batches=[0])


def test_size_of_an_axis_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no dynamic axis 'sequence'"):
        grid(contract_of(TensorSpec("x", "float32", ("batch", 8))), sequences=[5])


def test_other_axes_get_their_minimum() -> None:
    spec = TensorSpec("x", "float32", ("batch", "channels"))
    contract = contract_of(spec, channels=AxisLimits(6))
    assert axis_sizes(contract, Point(3, None)) == {"batch": 3, "channels": 6}
