"""nn.EmbeddingBag over rows of ids, as an embedding that is reduced: ONNX has no such operator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """torch.nn.functional.embedding_bag of ids [batch, bag]."""
    if input.dim() != 2 or max_norm is not None:
        plain: Any = functional.embedding_bag
        return plain(
            input, weight, offsets, max_norm, norm_type, scale_grad_by_freq, mode, sparse,
            per_sample_weights, include_last_offset, padding_idx,
        )  # fmt: skip
    rows = functional.embedding(input, weight)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    if padding_idx is None:
        return _reduce(rows, mode, None)
    return _reduce(rows, mode, (input != padding_idx % weight.shape[0]).unsqueeze(-1))


def _reduce(rows: Tensor, mode: str, kept: Tensor | None) -> Tensor:
    """``rows`` [batch, bag, features] over the bag; a bag of padding alone gives zeros."""
    if mode == "max":
        if kept is None:
            return rows.amax(1)
        largest = rows.masked_fill(~kept, -torch.inf).amax(1)
        return torch.where(kept.any(1), largest, torch.zeros_like(largest))
    total = (rows if kept is None else rows * kept).sum(1)
    if mode == "sum":
        return total
    if kept is None:
        return rows.mean(1)
    return total / kept.sum(1).clamp(min=1).to(total.dtype)
