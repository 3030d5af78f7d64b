"""Any stack of standard layers, at any sizes, equals float64 torch, row by row."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from recurrent_stacks import CELLS, assert_right, export_stack, make_stack

FORMS = ("no-lengths", "lengths", "lengths-batch-first")


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    cell=st.sampled_from(sorted(CELLS)),
    layers=st.integers(1, 4),
    bidirectional=st.booleans(),
    form=st.sampled_from(FORMS),
    bias=st.booleans(),
    with_state=st.booleans(),
    sizes=st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 60)), min_size=3, max_size=3, unique=True
    ),
)
def test_random_stack_equals_float64_torch(
    cell: str,
    layers: int,
    bidirectional: bool,
    form: str,
    bias: bool,
    with_state: bool,
    sizes: list[tuple[int, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder: Path = tmp_path_factory.mktemp("stack")
    stack = make_stack(cell, layers, bidirectional, form, 0.0, bias)
    bundle = export_stack(stack, with_state, folder / "bundle")
    assert_right(bundle, stack, with_state, sizes)
