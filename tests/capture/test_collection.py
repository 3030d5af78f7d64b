"""Every module of the collection: exported at one size, compared with eager torch at others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from collection.case import EXAMPLE_SIZES, UNSEEN_SIZES, Case
from collection.catalogue import CASES
from collection.failing import FAILING

import rnn_edge


def parameters() -> Iterator[object]:
    for name, case in CASES.items():
        reason = FAILING.get(name, "")
        mark = pytest.mark.xfail(strict=True, reason=reason)
        yield pytest.param(case, id=name, marks=[mark] if reason else [])


@pytest.mark.parametrize("case", list(parameters()))
def test_case_equals_eager_torch_at_unseen_sizes(case: Case, tmp_path: Path) -> None:
    args, kwargs = case.inputs(*EXAMPLE_SIZES)
    bundle = rnn_edge.export(
        case.module(), args, tmp_path / "bundle", kwargs=kwargs, axes=case.axes()
    )
    session = rnn_edge.Session(bundle)
    names = [spec.name for spec in bundle.graph().inputs]
    for batch, steps in UNSEEN_SIZES:
        tensors = case.tensors(batch, steps)
        feed = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
        expected = case.expect(batch, steps)
        found = session.run(feed)
        assert len(found) == len(expected)
        for array, tensor in zip(found, expected, strict=True):
            assert case.deviation(torch.from_numpy(array), tensor) <= case.tolerance


def test_what_fails_is_a_case() -> None:
    assert FAILING.keys() <= CASES.keys()
