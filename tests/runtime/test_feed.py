import numpy as np
import pytest

from rnn_edge.contract import AxisLimits, GraphContract, StatePair, TensorSpec
from rnn_edge.errors import InputError
from rnn_edge.runtime.feed import Feed

CONTRACT = GraphContract(
    "model.onnx",
    (
        TensorSpec("x", "float32", ("batch", "sequence", 2)),
        TensorSpec("tokens", "int64", ("batch", "sequence"), minimum=0, maximum=9),
        TensorSpec("lengths", "int64", ("batch",), lengths_of="sequence"),
        TensorSpec("h_0", "float32", (1, "batch", 4)),
    ),
    (),
    states=(StatePair("h_0", "h_n", 1, initial=0.5),),
    axes={"batch": AxisLimits(1, 8), "sequence": AxisLimits(2, 100)},
)


def arrays(batch: int = 2, sequence: int = 3, **other: object) -> dict[str, object]:
    return {
        "x": np.ones((batch, sequence, 2), np.float32),
        "tokens": np.zeros((batch, sequence), np.int64),
        "lengths": np.full(batch, sequence, np.int64),
        **other,
    }


def refusal(given: object) -> str:
    with pytest.raises(InputError) as info:
        Feed(CONTRACT).build(given)
    assert "\n" not in str(info.value)
    return str(info.value)


def with_value(name: str, place: tuple[int, ...], value: float) -> dict[str, object]:
    given = arrays()
    given[name][place] = value
    return given


def test_what_fits_is_passed_on_unchanged():
    given = arrays()
    feed = Feed(CONTRACT).build(given)
    for name, array in given.items():
        np.testing.assert_array_equal(feed[name], array)


def test_a_state_left_out_gets_its_initial_value_at_the_batch_s_size():
    state = Feed(CONTRACT).build(arrays(batch=3))["h_0"]
    assert state.dtype == np.float32
    np.testing.assert_array_equal(state, np.full((1, 3, 4), 0.5))


def test_positional_arrays_may_leave_the_states_out():
    given = list(arrays().values())
    assert Feed(CONTRACT).build(given)["h_0"].shape == (1, 2, 4)
    state = np.ones((1, 2, 4), np.float32)
    np.testing.assert_array_equal(Feed(CONTRACT).build([*given, state])["h_0"], state)


def test_a_non_contiguous_array_is_taken():
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2).transpose(1, 0, 2)
    feed = Feed(CONTRACT).build(arrays(3, 2, x=x))
    np.testing.assert_array_equal(feed["x"], x)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": 1}, "inputs must be x, tokens, lengths, h_0, missing tokens, lengths."),
        (arrays(y=1), "inputs must be x, tokens, lengths, h_0, got unknown y."),
        ([1, 2], "inputs must be x, tokens, lengths (3), got 2."),
    ],
)
def test_names_and_count_are_checked(given, message):
    assert refusal(given).startswith(message)


@pytest.mark.parametrize(
    ("name", "array", "found"),
    [
        ("x", np.ones((2, 3, 2)), "dtype of x must be float32, got float64"),
        ("x", np.ones((2, 3, 2), ">f4"), "dtype of x must be float32, got >f4"),
        ("lengths", np.array([3, 3], np.int32), "dtype of lengths must be int64, got int32"),
        ("tokens", np.zeros((2, 3), bool), "dtype of tokens must be int64, got bool"),
        ("x", [["a", "b"]], "dtype of x must be float32, got <U1"),
        ("tokens", [[1.0, 2.0, 3.0]] * 2, "dtype of tokens must be int64, got float64"),
        ("x", None, "dtype of x must be float32, got object"),
    ],
)
def test_a_dtype_that_is_not_the_graph_s_is_refused(name, array, found):
    assert refusal(arrays(**{name: array})).startswith(found)


def test_lists_of_python_numbers_become_the_graph_s_dtype():
    feed = Feed(CONTRACT).build([[[[1, 2], [3, 0.1]]], [[1, 2]], [2]])
    assert [feed[name].dtype for name in ("x", "tokens", "lengths")] == [
        np.dtype("float32"),
        np.dtype("int64"),
        np.dtype("int64"),
    ]
    assert feed["x"][0, 1, 1] == np.float32(0.1)


def test_a_list_with_a_number_that_the_dtype_cannot_hold_is_refused():
    big = 2**24 + 1
    message = refusal(arrays(x=[[[big, 0], [0, 0], [0, 0]]] * 2))
    assert message.startswith(f"values of x must fit float32, got {big}")


def test_a_ragged_list_is_refused():
    assert "rows of different lengths" in refusal(arrays(tokens=[[1, 2, 3], [1]]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (arrays(x=np.ones((3, 2), np.float32)), "must have 3 axes, got [3, 2]"),
        (arrays(x=np.ones((2, 3, 5), np.float32)), "axis 2 of x: float32[batch, sequence, 2]"),
        (arrays(0, 3), "axis 'batch' of x must be at least 1, got 0"),
        (arrays(2, 0), "axis 'sequence' of x must be at least 2, got 0"),
        (arrays(2, 1), "axis 'sequence' of x must be at least 2, got 1"),
        (arrays(9, 3), "axis 'batch' of x must be at most 8, got 9"),
        (arrays(2, 101), "axis 'sequence' of x must be at most 100, got 101"),
        (
            arrays(tokens=np.zeros((2, 4), np.int64)),
            "axis 'sequence' of tokens must have size 3 as in x, got 4",
        ),
        (
            arrays(h_0=np.zeros((1, 3, 4), np.float32)),
            "axis 'batch' of h_0 must have size 2 as in x, got 3",
        ),
    ],
)
def test_shapes_are_checked(given, message):
    assert message in refusal(given)


def test_an_axis_without_limits_still_must_not_be_empty():
    contract = GraphContract("m.onnx", (TensorSpec("x", "float32", ("anything",)),), ())
    with pytest.raises(InputError, match="axis 'anything' of x must be at least 1, got 0"):
        Feed(contract).build([np.zeros(0, np.float32)])


def test_a_minimum_of_zero_does_not_lift_the_guard_against_empty_axes():
    contract = GraphContract(
        "m.onnx", (TensorSpec("x", "float32", ("batch",)),), (), axes={"batch": AxisLimits(0)}
    )
    with pytest.raises(InputError, match="must be at least 1, got 0"):
        Feed(contract).build([np.zeros(0, np.float32)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (with_value("x", (1, 2, 0), np.nan), "x[1, 2, 0] must be finite, got nan"),
        (with_value("x", (0, 1, 1), np.inf), "x[0, 1, 1] must be finite, got inf"),
        (with_value("x", (0, 1, 1), -np.inf), "x[0, 1, 1] must be finite, got -inf"),
        (
            arrays(h_0=np.full((1, 2, 4), np.nan, np.float32)),
            "h_0[0, 0, 0] must be finite, got nan",
        ),
        (with_value("tokens", (0, 2), 10), "tokens[0, 2] must be at most 9, got 10"),
        (with_value("tokens", (1, 0), -1), "tokens[1, 0] must be at least 0, got -1"),
        (with_value("lengths", (1,), 0), "lengths[1] must be at least 1, got 0"),
        (with_value("lengths", (0,), 4), "lengths[0] must be at most 3, got 4"),
    ],
)
def test_values_are_checked_and_named(given, message):
    assert refusal(given).startswith(message)


def test_infinities_of_both_signs_do_not_cancel():
    given = arrays()
    given["x"][0, 0] = (np.inf, -np.inf)
    assert refusal(given).startswith("x[0, 0, 0] must be finite")


def test_large_finite_numbers_are_taken_without_a_warning(recwarn):
    x = np.full((2, 3, 2), 3e38, np.float32)
    np.testing.assert_array_equal(Feed(CONTRACT).build(arrays(x=x))["x"], x)
    assert [str(warning.message) for warning in recwarn] == []


def test_a_state_whose_size_follows_from_nothing_must_be_given():
    contract = GraphContract(
        "m.onnx",
        (TensorSpec("x", "float32", ("sequence",)), TensorSpec("h", "float32", ("batch",))),
        (),
        states=(StatePair("h", "h_n", 0),),
    )
    with pytest.raises(InputError, match="the size of its axis 'batch' follows from no other"):
        Feed(contract).build([np.ones(2, np.float32)])
