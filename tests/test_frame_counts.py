"""The frames of models with strides, against convolutions of torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnn_edge.frame_counts import FrameCounts, find_frame_counts

LAYERS = {
    "one": [nn.Conv1d(1, 1, 3, 2, 1)],
    "none": [nn.Identity()],
    "several": [nn.Conv1d(1, 1, 11, 2, 5), nn.Conv1d(1, 1, 5, 3), nn.MaxPool1d(2)],
    "of samples": [nn.Conv1d(1, 1, 400, 160)],
    "longer": [nn.ConstantPad1d((2, 5), 0.0)],
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_rule_is_that_of_the_layers(name: str) -> None:
    layers = nn.Sequential(*LAYERS[name])

    def count(steps: int) -> int | None:
        try:
            return int(layers(torch.zeros(1, 1, steps)).shape[2])
        except RuntimeError:
            return None

    found = find_frame_counts(count)
    assert found is not None
    for steps in (1, 2, 3, 17, 29, 400, 559, 560, 1999):
        given = count(steps)
        if given:
            assert found.of(steps) == given


def test_what_follows_no_rule_is_not_known() -> None:
    assert find_frame_counts(lambda steps: None) is None
    assert find_frame_counts(lambda steps: 5) is None
    assert find_frame_counts(lambda steps: steps * steps) is None
    assert find_frame_counts(lambda steps: steps) == FrameCounts(2, 1, 2)
