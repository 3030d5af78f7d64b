"""What the captioner writes against its own teacher-forced logits; rows alone, a wide beam."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from rnn_edge.models.captioner import Captioner
from rnn_edge.models.writing import UNKNOWN
from rnn_edge.tasks.task import CELLS

SIZE, STEPS = 5, 4


def captioner(cell: str = "gru", seed: int = 0, beam: int = 1, layers: int = 2) -> Captioner:
    torch.manual_seed(seed)
    return Captioner(
        9, 17, 255.0, SIZE, STEPS, beam=beam, cell=cell, embedding_size=3, hidden_size=4,
        num_layers=layers,
    ).eval()  # fmt: skip


def pictures(count: int) -> torch.Tensor:
    return 255 * torch.rand(count, 3, 9, 17)


@pytest.mark.parametrize("cell", CELLS)
def test_each_id_is_the_likeliest_after_those_before_it(cell: str) -> None:
    module, seen = captioner(cell), pictures(3)
    with torch.no_grad():
        written, chances = module(seen)
        logits = module.taught(seen, written)
    logits[:, :, : UNKNOWN + 1] = -torch.inf
    best, place = logits.log_softmax(dim=2).max(dim=2)
    for row in range(3):
        ends = (written[row] == module.end).nonzero()[:, 0].tolist()
        valid = ends[0] + 1 if ends else STEPS
        assert torch.equal(written[row, :valid], place[row, :valid])
        torch.testing.assert_close(chances[row, :valid], best[row, :valid])
        assert (chances[row, valid:] == 0).all()


def test_a_picture_decides_alone_what_is_written_of_it() -> None:
    module, seen = captioner("lstm"), pictures(4)
    with torch.no_grad():
        _, together = module(seen)
        alone = torch.cat([module(picture.unsqueeze(0))[1] for picture in seen])
        _, others = module(pictures(4))
    torch.testing.assert_close(together, alone)
    assert (together - others).abs().max() > 1e-4


def test_a_wide_beam_finds_the_likeliest_caption_there_is() -> None:
    for seed in range(3):
        module, seen = captioner("lstm", seed, beam=3**STEPS), pictures(1)
        with torch.no_grad():
            written, chances = module(seen)
            totals = {}
            for row in product(range(UNKNOWN + 1, SIZE), repeat=STEPS):
                ends = row.index(module.end) if module.end in row else STEPS
                if set(row[ends:]) > {module.end}:
                    continue
                logits = module.taught(seen, torch.tensor([row]))[0]
                logits[:, : UNKNOWN + 1] = -torch.inf
                steps = logits.log_softmax(dim=1)
                totals[row] = sum(float(steps[n, row[n]]) for n in range(min(ends + 1, STEPS)))
        best = max(totals, key=lambda row: totals[row])
        assert tuple(written[0].tolist()) == best
        assert float(chances.sum()) == pytest.approx(totals[best], abs=1e-4)
