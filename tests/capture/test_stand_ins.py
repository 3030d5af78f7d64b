"""Stand-ins of Python's own functions, and who does not get them."""

from __future__ import annotations

import threading
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.capture.builtin_calls import STAND_INS
from rnn_edge.capture.stand_in_code import REPLACED
from rnn_edge.errors import ExportError


def describe(lengths: Any, whole: bool = False) -> Any:
    """Calls every one of them, on numbers and as what they are."""
    longest = max(lengths) - min(lengths) + int(sum(lengths) / 2)
    if whole and type(longest) is int and {int: True}[type(longest)]:
        return longest, float(longest), sorted(lengths), list(map(int, "12")), int("11", base=2)
    return longest


class Described(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.core(x)[0] * describe(lengths.tolist())


class Refused(Described):
    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = super().forward(x, lengths)
        return y.sum(1) if y.sum() > 0 else y


AXES = [("batch", "sequence", None), ("batch",)]
EXAMPLE = (torch.randn(2, 5, 4), torch.tensor([5, 2]))


def test_another_thread_gets_functions_of_python(tmp_path: Path) -> None:
    codes: dict[CodeType, None] = {}
    wrong = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.002):
            codes[describe.__code__] = None
            found = describe([5, 2, 5], whole=True)
            if found != (9, 9.0, [2, 5, 5], [1, 2], 3) or type(found[0]) is not int:
                wrong.append(found)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        module = Described().eval()
        bundle = rnn_edge.export(module, EXAMPLE, tmp_path / "out", axes=AXES)
    finally:
        is_over.set()
        thread.join()
    assert not wrong
    assert len(codes) > 1  # it looked while the copy was there
    assert describe.__code__ is next(iter(codes))
    x, lengths = torch.randn(3, 7, 4), torch.tensor([7, 1, 4])
    (found,) = rnn_edge.Session(bundle).run(x.numpy(), lengths.numpy())
    with torch.no_grad():
        expected = module.core(x)[0] * (7 - 1 + 12 // 2)
    torch.testing.assert_close(torch.from_numpy(found), expected)


def test_code_is_what_it_was_after_a_refusal(tmp_path: Path) -> None:
    before = describe.__code__
    with pytest.raises(ExportError, match="a branch on a value"):
        rnn_edge.export(Refused().eval(), EXAMPLE, tmp_path / "out", axes=AXES)
    assert describe.__code__ is before
    assert not set(REPLACED) & globals().keys()


def test_stand_ins_are_functions_of_python_where_nothing_is_traced() -> None:
    assert STAND_INS["int"]("11", base=2) == 3
    assert STAND_INS["max"]([], default=4) == 4
    assert STAND_INS["sorted"]([2, 3, 1], key=lambda n: -n) == [3, 2, 1]
    assert isinstance(3, STAND_INS["int"])
    assert not isinstance(3.0, STAND_INS["int"])
