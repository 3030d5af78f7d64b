"""A refusal names the part of the module, the file and line, the construct and the change."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.errors import ExportError


class Head(nn.Module):
    def __init__(self, run: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self._run = run

    def forward(self, y: Tensor) -> Any:
        return self._run(y)


class Tagger(nn.Module):
    def __init__(self, run: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.core = nn.GRU(4, 3, batch_first=True)
        self.heads = nn.ModuleList([Head(run)])

    def forward(self, x: Tensor) -> Any:
        return self.heads[0](self.core(x)[0])


def branch(y: Tensor) -> Tensor:
    if y.sum() > 0:
        return y.sum(1)
    return y.amax((1, 2))


def loop_until(y: Tensor) -> Tensor:
    while y.abs().max() > 0.5:
        y = y / 2
    return y


def count(y: Tensor) -> Tensor:
    for _ in range(int(y.sum())):
        y = y + 1
    return y


def repeat_by_value(y: Tensor) -> Tensor:
    lengths = (y[:, :, 0] > 0).sum(1)
    return torch.tensor([[1.0] * n + [0.0] * (y.size(1) - n) for n in lengths.tolist()])


def leave_for_numpy(y: Tensor) -> Tensor:
    return y + torch.tensor(y.detach().numpy().mean())


def list_values(y: Tensor) -> Tensor:
    return torch.stack([value * y for value in y.tolist()])


def view_turned(y: Tensor) -> Tensor:
    return y.transpose(1, 2).view(y.size(0), -1)


def line_of(run: Callable[[Tensor], Any], offset: int) -> int:
    return run.__code__.co_firstlineno + offset


@pytest.mark.parametrize(
    ("run", "offset", "construct", "change"),
    [
        (branch, 1, "a branch on a value in `if y.sum() > 0:`", "torch.where or a mask"),
        (loop_until, 1, "a loop that ends when a value says so", "a fixed number of steps"),
        (count, 1, "a loop that ends when a value says so", "a fixed number of steps"),
        (repeat_by_value, 2, "a list as long as a value says in", "Compare positions"),
        (leave_for_numpy, 1, "a detour through numpy", "use the torch function"),
        (list_values, 1, "a tensor turned into Python numbers", "leave out .item() or .tolist()"),
        (view_turned, 1, "a view() of a tensor whose memory is in another", "Use reshape()"),
    ],
)
def test_refusal_names_part_line_construct_and_change(
    run: Callable[[Tensor], Any],
    offset: int,
    construct: str,
    change: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    place = f" at {Path(__file__).name}:{line_of(run, offset)}. "
    with pytest.raises(ExportError, match=re.escape(place)) as caught:
        rnn_edge.export(
            Tagger(run), torch.ones(2, 5, 4), tmp_path / "out", axes=[("batch", "time", None)]
        )
    message = str(caught.value)
    assert message.startswith("Tagger.heads.0 must be traceable")
    assert construct in message
    assert change in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


class Pyramid(nn.Module):
    """One step less in every iteration."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(x.size(1) - 1):
            x = torch.tanh(self.core(torch.cat([x[:, :-1], x[:, 1:]], -1)))
        return x.squeeze(1)


def test_a_state_that_becomes_shorter_is_refused_at_its_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"becomes longer or shorter at test_refused_\w+\.py:\d+"):
        rnn_edge.export(
            Pyramid(), torch.ones(2, 5, 4), tmp_path / "out", axes=[("batch", "time", None)]
        )


class WithCache(nn.Module):
    """What is said to whoever keeps a cache that grows on the module."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(4, 4)

    def forward(self, x: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        cache = torch.cat([cache, x], 1)
        return torch.softmax(self.query(x) @ cache.transpose(1, 2), -1) @ cache, cache


def test_a_cache_as_an_argument_exports(tmp_path: Path) -> None:
    module, axes = WithCache(), [("batch", "time", None), ("batch", "past", None)]
    example = (torch.randn(2, 5, 4), torch.randn(2, 3, 4))
    bundle = rnn_edge.export(module, example, tmp_path / "out", axes=axes, stream=False)
    given = (torch.randn(3, 1, 4), torch.randn(3, 7, 4))
    found = rnn_edge.Session(bundle).run(*(tensor.numpy() for tensor in given))
    with torch.no_grad():
        for array, expected in zip(found, module(*given), strict=True):
            torch.testing.assert_close(torch.from_numpy(array), expected)
