"""The classifier against single, unpadded rows computed by the layers themselves."""

import pytest
import torch
from torch import Tensor

from rnn_edge.models.text_classifier import TextClassifier
from rnn_edge.tasks.task import CELLS


def classifier(cell: str = "gru", **options: object) -> TextClassifier:
    torch.manual_seed(0)
    return TextClassifier(11, 3, cell=cell, embedding_size=4, hidden_size=5, **options).eval()


def logits_of_one(model: TextClassifier, tokens: Tensor) -> Tensor:
    """The same sum without packing, padding or masks: float32[classes]."""
    states = model.core(model.embedding(tokens).unsqueeze(0))[0][0]
    attended = torch.softmax(model.attention(states)[:, 0], dim=0) @ states
    return model.head(torch.cat([states.max(dim=0).values, states.mean(dim=0), attended]))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_each_row_equals_that_row_alone_and_unpadded(cell, bidirectional, num_layers):
    model = classifier(cell=cell, bidirectional=bidirectional, num_layers=num_layers)
    tokens = torch.randint(0, 11, (4, 9))
    lengths = torch.tensor([3, 9, 1, 6])
    with torch.no_grad():
        expected = [
            logits_of_one(model, row[:length])
            for row, length in zip(tokens, lengths.tolist(), strict=True)
        ]
        torch.testing.assert_close(model(tokens, lengths), torch.stack(expected))


def test_what_stands_in_the_padding_changes_nothing():
    model = classifier()
    tokens = torch.randint(0, 11, (3, 8))
    lengths = torch.tensor([2, 5, 8])
    other = tokens.clone()
    other[torch.arange(8) >= lengths.unsqueeze(1)] = 7
    with torch.no_grad():
        assert torch.equal(model(tokens, lengths), model(other, lengths))


def test_padding_beyond_the_longest_row_changes_nothing():
    model = classifier()
    tokens = torch.randint(0, 11, (3, 8))
    wide = torch.cat([tokens, torch.full((3, 20), 1)], dim=1)
    lengths = torch.tensor([2, 5, 8])
    with torch.no_grad():
        torch.testing.assert_close(model(wide, lengths), model(tokens, lengths))


def test_gradients_do_not_reach_padded_characters():
    model = classifier()
    tokens = torch.tensor([[2, 3, 9, 9]])
    model(tokens, torch.tensor([2])).sum().backward()
    assert model.embedding.weight.grad[9].abs().sum() == 0
    assert model.embedding.weight.grad[3].abs().sum() > 0
