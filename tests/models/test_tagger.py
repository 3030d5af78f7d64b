"""The best path against every path there is and against pytorch-crf; the tagger's padding."""

from __future__ import annotations

from itertools import pairwise, product

import torch
import torchcrf

from rnn_edge.models.linear_chain import LinearChain
from rnn_edge.models.tagger import Tagger

LABELS = 3
LENGTHS = torch.tensor([5, 1, 3])


def made() -> tuple[LinearChain, torch.Tensor]:
    torch.manual_seed(0)
    chain = LinearChain(LABELS)
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.normal_()
    return chain, torch.randn(3, 5, LABELS)


@torch.no_grad()
def path_score(chain: LinearChain, logits: torch.Tensor, path: tuple[int, ...]) -> float:
    score = chain.start_transitions[path[0]] + chain.end_transitions[path[-1]]
    score = score + sum(logits[step, label] for step, label in enumerate(path))
    pairs = pairwise(path)
    return float(score + sum(chain.transitions[pair] for pair in pairs))


def test_the_best_path_is_the_best_of_all_paths() -> None:
    chain, logits = made()
    best = chain.best_path(logits, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        paths = list(product(range(LABELS), repeat=length))
        expected = max(paths, key=lambda path: path_score(chain, logits[row], path))
        assert tuple(best[row, :length].tolist()) == expected


def test_the_best_path_is_that_of_the_library_that_trains_it() -> None:
    chain, logits = made()
    library = torchcrf.CRF(LABELS, batch_first=True)
    library.load_state_dict(chain.state_dict())
    mask = torch.arange(5) < LENGTHS.unsqueeze(1)
    best = chain.best_path(logits, LENGTHS)
    rows = [row[:length].tolist() for row, length in zip(best, LENGTHS.tolist(), strict=True)]
    assert rows == library.decode(logits, mask)


def test_a_row_of_a_batch_equals_that_row_alone() -> None:
    torch.manual_seed(0)
    for crf in (False, True):
        model = Tagger(
            9, 4, cell="gru", embedding_size=3, hidden_size=4, bidirectional=True, crf=crf
        ).eval()
        tokens = torch.randint(0, 9, (3, 5))
        with torch.no_grad():
            tags, logits = model(tokens, LENGTHS)
            for row, length in enumerate(LENGTHS.tolist()):
                alone = model(tokens[row : row + 1, :length], LENGTHS[row : row + 1])
                assert torch.equal(tags[row, :length], alone[0][0])
                assert not tags[row, length:].any()
                torch.testing.assert_close(logits[row, :length], alone[1][0])
