"""Rows of different lengths are run in groups; the answers are those of one run."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnn_edge
from rnn_edge.runtime.ragged import MOST_RUNS, RaggedBatches, cost, split


class Tagger(nn.Module):
    """An answer a step, both ways: what pad_packed_sequence gives, trimmed to the longest."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(3, 5, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 2)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, h = self.core(packed)
        return self.head(pad_packed_sequence(y, batch_first=True)[0]), h


class Padded(nn.Module):
    """Reads padding: the backward direction begins in it."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(3, 5, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = self.core(x)[0]
        steps = torch.arange(x.size(1)).unsqueeze(0) < lengths.unsqueeze(1)
        return (y * steps.unsqueeze(2)).sum(1) / lengths.unsqueeze(1)


def export(module: nn.Module, place: Path) -> rnn_edge.Bundle:
    torch.manual_seed(0)
    example = (torch.randn(3, 6, 3), torch.tensor([6, 2, 4]))
    axes = [("batch", "sequence", None), ("batch",)]
    return rnn_edge.export(module.eval(), example, place, axes=axes, stream=False)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tagger, rnn_edge.Bundle]:
    module = Tagger()
    return module, export(module, tmp_path_factory.mktemp("tagger") / "tagger")


def batch(rows: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(rows)
    lengths = np.clip(random.lognormal(3, 1, rows), 1, steps).astype(np.int64)
    return random.standard_normal((rows, steps, 3)).astype(np.float32), lengths


@pytest.mark.parametrize(("rows", "steps"), [(2, 300), (7, 90), (33, 400)])
def test_answers_are_those_of_torch_in_the_order_given(tagger, rows, steps, monkeypatch):
    module, bundle = tagger
    assert bundle.graph().ragged
    x, lengths = batch(rows, steps)
    session = rnn_edge.Session(bundle)
    once, calls = session._run_once, []

    def count(feed):
        calls.append(len(feed["x"]))
        return once(feed)

    monkeypatch.setattr(session, "_run_once", count)
    found = session.run(x, lengths)
    assert sum(calls) == rows
    assert len(calls) <= MOST_RUNS
    assert rows < 10 or len(calls) > 2
    with torch.no_grad():
        expected = module(torch.from_numpy(x), torch.from_numpy(lengths))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-6)


def test_rows_alone_are_the_same(tagger):
    _, bundle = tagger
    x, lengths = batch(12, 200)
    session = rnn_edge.Session(bundle)
    whole = session.run(x, lengths)[0]
    for row, length in enumerate(lengths):
        alone = session.run(x[row : row + 1, :length], lengths[row : row + 1])[0]
        np.testing.assert_allclose(alone[0], whole[row, :length], atol=1e-6)


def test_a_model_that_reads_padding_is_run_in_one(tmp_path):
    module = Padded()
    bundle = export(module, tmp_path / "padded")
    assert not bundle.graph().ragged
    assert RaggedBatches.of(bundle.graph()) is None
    x, lengths = batch(9, 100)
    with torch.no_grad():
        expected = module(torch.from_numpy(x), torch.from_numpy(lengths)).numpy()
    np.testing.assert_allclose(rnn_edge.Session(bundle).run(x, lengths)[0], expected, atol=1e-6)


def test_one_long_row_without_padding_to_learn_from_is_run_in_one(tagger):
    _, bundle = tagger
    batches = RaggedBatches.of(bundle.graph())
    session = rnn_edge.Session(bundle)
    x, lengths = batch(2, 50)
    lengths[:] = 50, 3
    parts = [np.array([0]), np.array([1])]
    feed = {"x": x, "lengths": lengths}
    assert batches.run_parts(feed, parts, session._run_once) is None
    assert session.run(x, lengths)[0].shape == (2, 50, 2)


@pytest.mark.parametrize("rows", [1, 2, 5, 200, 1000])
def test_split_gives_every_row_once_in_few_parts(rows):
    lengths = np.random.default_rng(rows).integers(1, 5000, rows)
    parts = split(lengths)
    assert len(parts) <= MOST_RUNS
    assert sorted(np.concatenate(parts).tolist()) == list(range(rows))
    shortest = [lengths[part].min() for part in parts]
    longest = [lengths[part].max() for part in parts]
    assert all(a >= b for a, b in zip(shortest, longest[1:], strict=False))


def test_a_contract_that_does_not_say_so_is_run_in_one(tagger):
    _, bundle = tagger
    graph = bundle.graph()
    assert RaggedBatches.of(replace(graph, ragged=False)) is None
    assert RaggedBatches.of(graph) is not None


@pytest.mark.parametrize("seed", range(20))
def test_no_other_way_to_part_sorted_rows_costs_less(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = np.clip(random.lognormal(3, 1.2, random.integers(2, 9)), 1, 300).astype(np.int64)
    shortest = int(random.integers(1, 9))
    order = np.argsort(-lengths, kind="stable")
    ways = itertools.chain.from_iterable(
        itertools.combinations(range(1, len(lengths)), count) for count in range(len(lengths))
    )
    least = min(cost(lengths, np.split(order, list(cuts)), shortest) for cuts in ways)
    assert cost(lengths, split(lengths, shortest), shortest) == pytest.approx(least)
