"""What the translator writes against its own teacher-forced logits; padding, and rows alone."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from rnn_edge.models.translator import Translator
from rnn_edge.models.writing import UNKNOWN
from rnn_edge.tasks.task import CELLS

LENGTHS = torch.tensor([5, 1, 3])
STEPS, SIZE = 7, 6


def translator(
    cell: str = "gru",
    bidirectional: bool = True,
    seed: int = 0,
    steps: int = STEPS,
    beam: int = 1,
) -> Translator:
    torch.manual_seed(seed)
    return Translator(
        9, SIZE, steps, beam=beam, cell=cell, embedding_size=3, hidden_size=4,
        bidirectional=bidirectional,
    ).eval()  # fmt: skip


def test_each_id_is_the_likeliest_after_those_before_it() -> None:
    ended = 0
    for seed in range(6):
        module = translator(seed=seed)
        tokens = torch.randint(0, 9, (3, 5))
        with torch.no_grad():
            written, chances, attention = module(tokens, LENGTHS)
            logits = module.taught(tokens, LENGTHS, written)
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


def likeliest(module: Translator, tokens: Tensor, length: Tensor) -> tuple[float, list[int]]:
    """The best of all texts there are, each scored by the teacher-forced logits."""
    found = []
    for row in product(range(UNKNOWN + 1, SIZE), repeat=module.steps):
        ends = row.index(module.end) if module.end in row else module.steps
        if set(row[ends:]) <= {module.end}:
            text = torch.tensor([row])
            logits = module.taught(tokens, length, text)
            logits[:, :, : UNKNOWN + 1] = -torch.inf
            chances = logits.log_softmax(dim=2).gather(2, text.unsqueeze(2))[0, : ends + 1]
            found.append((float(chances.sum()), list(row)))
    return max(found)


@torch.no_grad()
def test_a_wide_beam_finds_the_likeliest_text_there_is() -> None:
    others = 0
    for seed in range(5):
        module = translator(seed=seed, steps=3, beam=40)
        module.head.weight *= 6  # so that what comes depends on what was written
        tokens = torch.randint(0, 9, (3, 5))
        written, chances, attention = module(tokens, LENGTHS)
        torch.testing.assert_close(attention.sum(dim=2), torch.ones(3, 3))
        module.beam = 1
        greedy, _, _ = module(tokens, LENGTHS)
        for row, length in enumerate(LENGTHS.tolist()):
            alone = tokens[row : row + 1, :length]
            score, text = likeliest(module, alone, LENGTHS[row : row + 1])
            assert written[row].tolist() == text
            assert abs(float(chances[row].sum()) - score) < 1e-4
            others += greedy[row].tolist() != text
    assert others > 0


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
