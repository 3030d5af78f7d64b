"""The image classifier scales pixels itself and summarises the rows as asked."""

from __future__ import annotations

import pytest
import torch

from rnn_edge.models.image_classifier import ImageClassifier


def classifier(**options: object) -> ImageClassifier:
    torch.manual_seed(0)
    return ImageClassifier(5, 3, 16.0, hidden_size=4, **options).eval()  # type: ignore[arg-type]


def test_pooling_takes_the_maximum_over_the_rows() -> None:
    module, image = classifier(), 16 * torch.rand(2, 7, 5)
    states, _ = module.core(image / 16)
    torch.testing.assert_close(module(image), module.head(states.max(dim=1).values))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn-tanh"])
def test_without_pooling_the_last_row_of_each_direction_decides(cell: str) -> None:
    module, image = classifier(cell=cell, num_layers=2, pooling=False), 16 * torch.rand(2, 7, 5)
    states, _ = module.core(image / 16)
    last = torch.cat([states[:, -1, :4], states[:, 0, 4:]], dim=1)
    torch.testing.assert_close(module(image), module.head(last))


def test_one_direction_without_pooling_reads_the_last_row() -> None:
    module = classifier(bidirectional=False, pooling=False)
    image = 16 * torch.rand(2, 7, 5)
    torch.testing.assert_close(module(image), module.head(module.core(image / 16)[0][:, -1]))
