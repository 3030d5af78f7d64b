"""What cannot be exported is refused in one line, writes nothing, and leaves torch as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import rnn_edge
from rnn_edge.errors import ExportError


class Layer(nn.Module):
    def __init__(self, forward: Callable[..., Any], **options: Any) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True, **options)
        self._forward = forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, x)


def freeze_the_batch(m: Layer, x: Tensor) -> Tensor:
    return m.lstm(x)[0].sum() * torch.ones(int(x.shape[0]) ** 2)


def branch_on_a_value(m: Layer, x: Tensor) -> Tensor:
    return m.lstm(x)[0] if x.sum() > 0 else x


def return_a_number(m: Layer, x: Tensor) -> tuple[Tensor, str]:
    return m.lstm(x)[0], "seven"


def return_a_packed_sequence(m: Layer, x: Tensor) -> Any:
    lengths = torch.full((x.shape[0],), 2)
    return m.lstm(pack_padded_sequence(x, lengths, batch_first=True))[0]


def read_batch_sizes(m: Layer, x: Tensor) -> Tensor:
    lengths = torch.full((x.shape[0],), 2)
    return torch.cumsum(pack_padded_sequence(x, lengths, batch_first=True).batch_sizes, 0)


def run(m: Layer, x: Tensor) -> Tensor:
    return m.lstm(x)[0]


def export(module: nn.Module, folder: Path, **options: Any) -> rnn_edge.Bundle:
    axes = [("batch", "sequence", None)]
    return rnn_edge.export(module, torch.randn(2, 3, 4), folder, axes=axes, **options)


@pytest.mark.parametrize(
    ("forward", "options", "message"),
    [
        (freeze_the_batch, {}, "must follow the step or the sizes by a formula, got 64, 81"),
        (branch_on_a_value, {}, "must be traceable"),
        (return_a_number, {}, "must return tensors.*str at output_1"),
        (return_a_packed_sequence, {}, "unpack a packed sequence"),
        (read_batch_sizes, {}, "batch_sizes of a packed sequence must be left alone"),
    ],
)
def test_refusal_names_the_construct_and_writes_nothing(
    forward: Callable[..., Any], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    module = Layer(forward, **options)
    with pytest.raises(ExportError, match=message) as caught:
        export(module, tmp_path / "bundle")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert module.training
    assert "check_forward_args" not in vars(module.lstm)
    assert module(torch.ones(1, 2, 4)) is not None


def test_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for names, message in ((["a", "b"], "1 tensors"), (["x"], "differ from")):
        with pytest.raises(ExportError, match=message):
            export(Layer(run), tmp_path / "bundle", output_names=names)


def test_descriptions_of_unknown_tensors_are_refused(tmp_path: Path) -> None:
    for options in ({"states": {"h": "h_n"}}, {"bounds": {"y": (0, 1)}}, {"meanings": {"z": ""}}):
        with pytest.raises(ExportError, match=next(iter(options))):
            export(Layer(run), tmp_path / "bundle", **options)


def test_axes_that_forward_adds_must_have_one_name(tmp_path: Path) -> None:
    class Sum(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a + b

    with pytest.raises(ExportError, match="sizes that do not fit together"):
        rnn_edge.export(
            Sum(), (torch.ones(3), torch.ones(3)), tmp_path / "bundle", axes=[("n",), ("m",)]
        )


def test_an_operator_that_fails_for_its_sizes_is_named() -> None:
    """As torch words it, far down in the chain of causes."""
    import importlib

    capture = importlib.import_module("rnn_edge.capture.capture")
    try:
        try:
            raise AttributeError(
                "no attribute\n\nWhile executing %scan_1 : [num_users=2] = call_function"
                "[target=torch.ops.higher_order.scan](args = (%a,), kwargs = {})\nOriginal:"
            )
        except AttributeError as cause:
            raise RuntimeError("Failed to decompose") from cause
    except RuntimeError as error:
        told = str(capture._untranslatable(nn.Linear(1, 1), error))
    assert told == (
        "every operator of Linear must have an ONNX form, higher_order.scan has none for its "
        "sizes. Replace that operator."
    )
