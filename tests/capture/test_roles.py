"""What integer inputs mean is read from the graph: lengths, ids, or nothing that is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rnn_edge.capture.arguments import read_arguments
from rnn_edge.capture.program import trace
from rnn_edge.capture.roles import Role, find_roles

Use = Callable[[Tensor, Tensor], Tensor]


class Using(nn.Module):
    def __init__(self, use: Use) -> None:
        super().__init__()
        self._use = use

    def forward(self, x: Tensor, n: Tensor) -> Tensor:
        return self._use(x, n)


def steps(x: Tensor) -> Tensor:
    return torch.arange(x.shape[1])


def longest(x: Tensor, n: Tensor) -> Tensor:
    return x[:, : n.max().item()]


def share(x: Tensor, n: Tensor) -> Tensor:
    halved = x[:, ::2]
    valid = (n.float() / x.shape[1] * halved.shape[1]).ceil().long().clamp(min=1)
    return halved * (steps(halved)[None] < valid[:, None])


LENGTHS: dict[str, Use] = {
    "mask": lambda x, n: x * (steps(x).unsqueeze(0) < n.unsqueeze(1)),
    "mask the other way round": lambda x, n: x * n[:, None].gt(steps(x)),
    "mask of the padding": lambda x, n: x.masked_fill(steps(x) >= n.view(-1, 1), 0),
    "mask with expanded places": lambda x, n: x * (steps(x).expand(x.shape[0], -1) < n[:, None]),
    "mask up to the last place": lambda x, n: x * (steps(x) <= (n - 1)[:, None]),
    "mask as int": lambda x, n: x * (steps(x) < n.int()[:, None]),
    "clamped": lambda x, n: x * (steps(x) < n.clamp(1, x.shape[1])[:, None]),
    "share of the steps": share,
    "last step gathered": lambda x, n: x.gather(1, (n - 1)[:, None]),
    "last step indexed": lambda x, n: x[torch.arange(n.shape[0]), n - 1],
    "last steps selected": lambda x, n: x.index_select(1, n.sub(1)),
    "longest row": lambda x, n: longest(x, n) * (steps(longest(x, n)) < n[:, None]),
}  # fmt: skip
OTHERS: dict[str, Use] = {
    "place in a mask": lambda x, n: x * (steps(x) <= n[:, None]),
    "place gathered": lambda x, n: x.gather(1, n[:, None]),
    "added": lambda x, n: x + n[:, None],
    "classes": lambda x, n: x.sum(1, keepdim=True) * (torch.arange(9) < n[:, None]),
    "one of all": lambda x, n: x * (steps(x) == n[:, None]),
}


def find(use: Use) -> Role | None:
    args = (torch.randn(2, 6), torch.tensor([4, 2]))
    module = Using(use).eval()
    arguments = read_arguments(module, args, None, [("batch", "sequence"), ("batch",)])
    with torch.no_grad():
        return find_roles(trace(module, arguments)).get("n")


@pytest.mark.parametrize("use", LENGTHS.values(), ids=LENGTHS.keys())
def test_lengths_are_recognised_by_their_use(use: Use) -> None:
    assert find(use) == Role(minimum=1, lengths_of="sequence")


@pytest.mark.parametrize("use", OTHERS.values(), ids=OTHERS.keys())
def test_other_integers_have_no_role(use: Use) -> None:
    assert find(use) is None


def test_ids_of_an_embedding_are_bounded_by_its_rows() -> None:
    table = torch.randn(9, 1)
    assert find(lambda x, n: x + nn.functional.embedding(n, table)) == Role(minimum=0, maximum=8)
