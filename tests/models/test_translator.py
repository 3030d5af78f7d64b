"""What the translator writes against its own teacher-forced logits; padding, and rows alone."""

from __future__ import annotations

import torch

from rnn_edge.models.translator import UNKNOWN, Translator
from rnn_edge.tasks.task import CELLS

LENGTHS = torch.tensor([5, 1, 3])
STEPS, SIZE = 7, 6


def translator(cell: str = "gru", bidirectional: bool = True, seed: int = 0) -> Translator:
    torch.manual_seed(seed)
    return Translator(
        9, SIZE, STEPS, cell=cell, embedding_size=3, hidden_size=4, bidirectional=bidirectional
    ).eval()


def test_each_id_is_the_likeliest_after_those_before_it() -> None:
    ended = 0
    for seed in range(6):
        module = translator(seed=seed)
        tokens = torch.randint(0, 9, (3, 5))
        with torch.no_grad():
            written, chances, attention = module(tokens, LENGTHS)
            logits = module.teach(tokens, LENGTHS, written)
        logits[:, :, : UNKNOWN + 1] = -torch.inf
        best, place = logits.log_softmax(dim=2).max(dim=2)
        for row in range(3):
            ends = (written[row] == module.end).nonzero()[:, 0].tolist()
            valid = ends[0] + 1 if ends else STEPS
            ended += bool(ends)
            assert torch.equal(written[row, :valid], place[row, :valid])
            torch.testing.assert_close(chances[row, :valid], best[row, :valid])
            assert (written[row, valid:] == module.end).all()
            assert (chances[row, valid:] == 0).all()
        assert (written > UNKNOWN).all()
        torch.testing.assert_close(attention.sum(dim=2), torch.ones(3, STEPS))
        assert (attention[torch.arange(5).expand(3, STEPS, 5) >= LENGTHS.view(3, 1, 1)] == 0).all()
    assert ended > 0


def test_a_row_of_a_batch_equals_that_row_alone() -> None:
    for cell in CELLS:
        for bidirectional in (True, False):
            module = translator(cell, bidirectional)
            tokens = torch.randint(0, 9, (3, 5))
            with torch.no_grad():
                written, chances, _ = module(tokens, LENGTHS)
                for row, length in enumerate(LENGTHS.tolist()):
                    alone = module(tokens[row : row + 1, :length], LENGTHS[row : row + 1])
                    assert torch.equal(written[row], alone[0][0])
                    torch.testing.assert_close(chances[row], alone[1][0])
