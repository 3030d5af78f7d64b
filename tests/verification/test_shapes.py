"""The sizes that a graph is tried at."""

from rnn_edge.verification.shapes import sizes_to_try


def test_batch_and_sequence_take_the_sizes_where_exports_break() -> None:
    cases = sizes_to_try({"batch": 3, "sequence": 6})
    assert {case["batch"] for case in cases} == {1, 2, 5}
    assert {case["sequence"] for case in cases} == {1, 2, 7, 60}
    assert len(cases) == 7


def test_first_case_is_neither_one_nor_long() -> None:
    assert sizes_to_try({"batch": 3, "sequence": 6})[0] == {"batch": 2, "sequence": 7}


def test_long_case_is_tried_once_with_two_rows() -> None:
    cases = [c for c in sizes_to_try({"batch": 3, "sequence": 6}) if c["sequence"] == 60]
    assert cases == [{"batch": 2, "sequence": 60}]


def test_prime_is_not_the_traced_size() -> None:
    assert {case["sequence"] for case in sizes_to_try({"sequence": 7})} == {1, 2, 11, 70}


def test_long_examples_are_exceeded_but_not_ten_times() -> None:
    assert max(case["sequence"] for case in sizes_to_try({"sequence": 400})) == 1000
    assert max(case["sequence"] for case in sizes_to_try({"sequence": 5000})) > 5000


def test_two_sequences_get_different_sizes() -> None:
    cases = sizes_to_try({"source": 6, "target": 6})
    assert all(case["source"] != case["target"] for case in cases)


def test_module_without_axes_is_tried_once() -> None:
    assert sizes_to_try({}) == [{}]
