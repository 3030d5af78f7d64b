"""Max pooling over time keeps time dynamic, in every form of the call: as eager torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import rnn_edge
from rnn_edge.capture.pooling import max_pool1d
from rnn_edge.errors import ExportError


class PooledThenGRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool1d(3, stride=1, padding=1)
        self.rnn = nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = x.transpose(1, 2)
        return (
            self.rnn(self.pool(y).transpose(1, 2))[0],
            functional.max_pool1d(y, 2, ceil_mode=True),
            torch.max_pool1d(y, [2], stride=1, dilation=2),
        )


def test_pooled_layers_equal_eager_torch_at_unseen_sizes(tmp_path: Path) -> None:
    module = PooledThenGRU().eval()
    axes = [("batch", "sequence", None)]
    bundle = rnn_edge.export(module, (torch.randn(2, 6, 4),), tmp_path / "bundle", axes=axes)
    session = rnn_edge.Session(bundle)
    for batch, steps in ((1, 3), (3, 11), (5, 24)):
        x = torch.randn(batch, steps, 4)
        with torch.no_grad():
            expected = module(x)
        for array, tensor in zip(session.run(x.numpy()), expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(array), tensor)


@pytest.mark.parametrize("steps", [4, 7])
@pytest.mark.parametrize("stride", [None, 1, 3])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_form_for_two_axes_equals_torch(
    steps: int, stride: int | None, padding: int, ceil_mode: bool
) -> None:
    x = torch.randn(2, 3, steps)
    expected = functional.max_pool1d(x, 2, stride, padding, ceil_mode=ceil_mode)
    torch.testing.assert_close(max_pool1d(x, 2, stride, padding, 1, ceil_mode), expected)
    torch.testing.assert_close(max_pool1d(x[0], (2,), stride, padding, 1, ceil_mode), expected[0])


class WindowOfHalf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool1d(x.transpose(1, 2), x.shape[1] // 2)


def test_window_that_follows_part_of_the_length_is_refused(tmp_path: Path) -> None:
    axes = [("batch", "sequence", None)]
    with pytest.raises(ExportError, match="window must be a number or as long as the axis"):
        rnn_edge.export(WindowOfHalf(), (torch.randn(2, 6, 4),), tmp_path / "b", axes=axes)
    assert list(tmp_path.iterdir()) == []


class InParts(nn.Module):
    """Axes cut into a fixed number of parts, patches as long as the axis, a grid to sample at."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y, image = x.transpose(1, 2), x.unsqueeze(1)
        theta = torch.tanh(x[:, :1, :3]).expand(-1, 2, -1)
        size = (x.shape[0], 1, x.shape[1], 4)
        return (
            functional.adaptive_avg_pool1d(y, 3),
            functional.adaptive_avg_pool2d(image, (2, None)),
            functional.adaptive_max_pool1d(y, 4),
            functional.adaptive_max_pool2d(image, (3, 2)),
            functional.adaptive_avg_pool1d(y, 1),
            functional.unfold(image, (x.shape[1], 2)),
            functional.unfold(image, (2, x.shape[2]), stride=(2, 1), padding=(1, 0)),
            functional.affine_grid(theta, list(size), align_corners=False),
            functional.affine_grid(theta, list(size), align_corners=True),
        )


def test_parts_and_patches_equal_eager_torch_at_unseen_sizes(tmp_path: Path) -> None:
    module = InParts()
    axes = [("batch", "sequence", None)]
    bundle = rnn_edge.export(module, (torch.randn(2, 6, 4),), tmp_path / "bundle", axes=axes)
    session = rnn_edge.Session(bundle)
    for batch, steps in ((1, 1), (1, 3), (3, 11), (5, 24)):
        x = torch.randn(batch, steps, 4)
        for array, tensor in zip(session.run(x.numpy()), module(x), strict=True):
            torch.testing.assert_close(torch.from_numpy(array), tensor)
