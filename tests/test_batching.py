"""Batches: every example once, lengths alike, order from the generator alone."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_edge.batching import ArraySplit, SequenceSplit, bucketed_order


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=300), st.integers(1, 40))
def test_a_bucketed_pass_takes_every_example_once(lengths: list[int], batch_size: int) -> None:
    order = bucketed_order(torch.tensor(lengths), batch_size, generator())
    assert sorted(torch.cat(order).tolist()) == list(range(len(lengths)))


def test_a_bucketed_pass_has_the_promised_number_of_batches() -> None:
    rows = [torch.ones(1 + place % 30) for place in range(1001)]
    split = SequenceSplit(rows, torch.zeros(1001))
    assert len(list(split.batches(8, generator()))) == split.batch_count(8) == 126


def test_lengths_within_a_bucketed_batch_are_alike() -> None:
    lengths = torch.randint(1, 1000, (5000,), generator=generator())
    spreads = [
        int(lengths[batch].max() - lengths[batch].min())
        for batch in bucketed_order(lengths, 10, generator())
    ]
    assert sum(spreads) / len(spreads) < 50  # 818 on average in batches drawn at random


def test_batches_of_a_pass_are_not_sorted_by_length() -> None:
    lengths = torch.arange(1, 501)
    firsts = [int(lengths[batch][0]) for batch in bucketed_order(lengths, 10, generator())]
    assert firsts != sorted(firsts)


def test_the_generator_decides_the_order() -> None:
    lengths = torch.randint(1, 9, (100,), generator=generator())
    one, same, other = (
        torch.cat(bucketed_order(lengths, 7, generator(seed))) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_an_evaluation_pass_keeps_the_order_and_pads() -> None:
    rows = [torch.tensor([1.0, 2.0]), torch.tensor([3.0]), torch.tensor([4.0, 5.0, 6.0])]
    first, second = SequenceSplit(rows, torch.tensor([7, 8, 9]), padding=-1).batches(2)
    assert first.inputs[0].tolist() == [[1, 2], [3, -1]]
    assert first.inputs[1].tolist() == [2, 1]
    assert second.inputs[0].tolist() == [[4, 5, 6]]
    assert (second.targets.tolist(), second.count) == ([9], 1)


def test_array_batches_keep_inputs_and_targets_together() -> None:
    split = ArraySplit((torch.arange(10.0), torch.arange(10)), torch.arange(10))
    for batch in split.batches(3, generator()):
        assert batch.inputs[1].tolist() == batch.targets.tolist()
        assert batch.inputs[0].tolist() == batch.targets.tolist()


def test_augmentation_touches_training_batches_only() -> None:
    split = ArraySplit((torch.zeros(4),), torch.zeros(4), augment=lambda values, _: values + 1)
    assert [batch.inputs[0].sum() for batch in split.batches(4)] == [0]
    assert [batch.inputs[0].sum() for batch in split.batches(4, generator())] == [4]
