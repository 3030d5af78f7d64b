"""forward()'s arguments: names, nesting, axes, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_edge.capture.arguments import read_arguments, resize
from rnn_edge.errors import ExportError

X, H = torch.zeros(2, 3, 4), torch.zeros(1, 2, 5)


class Module(nn.Module):
    def forward(
        self, x: Tensor, state: Any = None, *more: Tensor, scale: float = 1.0, **named: Tensor
    ) -> Tensor:
        return x


def read(*args: Any, axes: Any = (), **kwargs: Any) -> list[tuple[str, tuple[str | None, ...]]]:
    found = read_arguments(Module(), args, kwargs, axes)
    return [(argument.name, argument.axes) for argument in found.tensors]


def test_plain_arguments_have_the_names_of_the_parameters() -> None:
    axes = [("batch", "sequence", None), (None, "batch", None)]
    assert read(X, H, axes=axes) == [
        ("x", ("batch", "sequence", None)),
        ("state", (None, "batch", None)),
    ]


def test_nested_arguments_are_named_after_their_place() -> None:
    axes = [None, ((None, "batch", None), {"c": (None, "batch", None)})]
    assert read(X, (H, {"c": H}), axes=axes) == [
        ("x", (None, None, None)),
        ("state_0", (None, "batch", None)),
        ("state_1_c", (None, "batch", None)),
    ]


def test_keywords_stand_in_the_order_of_the_signature() -> None:
    assert [name for name, _ in read(state=H, x=X)] == ["x", "state"]


def test_axes_may_be_given_by_parameter() -> None:
    assert read(X, H, axes={"state": (None, "b", None)})[1] == ("state", (None, "b", None))


def test_star_arguments_are_numbered_and_named() -> None:
    assert [name for name, _ in read(X, H, X, X, extra=H)] == [
        "x", "state", "more_0", "more_1", "extra",
    ]  # fmt: skip


def test_constants_are_put_back_in_their_place() -> None:
    found = read_arguments(Module(), (X, (H, None, 7)), {"scale": 2.0}, ())
    args, kwargs = found.rebuild(["a", "b"])
    assert (args, kwargs) == (("a", ("b", None, 7)), {"scale": 2.0})


def test_resizing_repeats_and_cuts() -> None:
    (argument,) = read_arguments(Module(), torch.arange(3.0), None, [("n",)]).tensors
    assert resize(argument, {"n": 5}).tolist() == [0, 1, 2, 0, 1]
    assert resize(argument, {"n": 2}).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("args", "axes", "message"),
    [
        ((X,), [("batch", None)], "3 names or None"),
        ((X,), [("batch", "a b", None)], "identifiers"),
        ((X,), {"y": ("batch",)}, "'y'"),
        ((X,), [None, None], "2 entries"),
        ((X, 3), [None, ("batch",)], "must be a tensor"),
        ((3,), [None], "must take a tensor"),
        ((), [], "args must fit"),
    ],
)
def test_what_does_not_fit_is_refused(args: Any, axes: Any, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        read_arguments(Module(), args, None, axes)
