"""A module that reads features of sound is exported behind them: what the export then takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rnn_edge.contract import AudioFrontEnd, AxisLimits, CtcDecoder, Decoder
from rnn_edge.errors import InputError
from rnn_edge.sound_features import SoundFeatures

if TYPE_CHECKING:
    from torch import Tensor, nn

_SEED = 0
_LOUDNESS = 0.1


@dataclass(frozen=True)
class Hearing:
    """``module`` takes ``args``, samples [batch, sequence] and maybe those of each row."""

    module: nn.Module
    args: tuple[Tensor, ...]
    axes: list[tuple[str, ...]]
    limits: dict[str, AxisLimits]
    front_end: AudioFrontEnd
    decoder: Decoder | None


def put_hearing(
    features: SoundFeatures,
    module: nn.Module,
    args: Any,
    kwargs: Mapping[str, Any] | None,
    decoder: Decoder | None,
) -> Hearing:
    """``module`` behind ``features``.

    ``args`` and ``kwargs`` are examples of what ``module`` takes: float32[batch, frames, width],
    and maybe the frames of each row, int64[batch]. Raises InputError.
    """
    import torch

    from rnn_edge.models.log_mel import put_on_samples

    given = _in_order(module, args, kwargs)
    if not _fits(given, features):
        told = ", ".join(_describe(value) for value in given)
        raise InputError(
            f"a module behind features of sound must take float32[batch, frames, {features.width}] "
            f"and maybe the frames of each row, int64[batch], first of all, got {told}. Correct "
            "the inputs, or the front end."
        )
    rows, frames = given[0].shape[:2]
    count = features.shortest + (frames - 1) * features.hop
    random = torch.Generator().manual_seed(_SEED)
    placed: tuple[Tensor, ...] = (_LOUDNESS * torch.randn(rows, count, generator=random),)
    axes: list[tuple[str, ...]] = [("batch", "sequence")]
    if len(given) > 1:
        placed += (features.shortest + (given[1].clamp(min=1) - 1) * features.hop,)
        axes.append(("batch",))
    heard = put_on_samples(features, module, len(given) > 1, decoder)
    if isinstance(decoder, CtcDecoder):
        decoder = replace(decoder, stride=features.hop * heard.given.stride)
    return Hearing(
        heard,
        placed,
        axes,
        {"sequence": AxisLimits(features.shortest)},
        AudioFrontEnd(features.rate, features.text),
        decoder,
    )


def _in_order(module: nn.Module, args: Any, kwargs: Mapping[str, Any] | None) -> list[Any]:
    """The arguments as forward() has them, without those that are its defaults."""
    several = args if isinstance(args, tuple | list) else (args,)
    try:
        bound = inspect.signature(module.forward).bind(*several, **(kwargs or {}))
    except TypeError:
        return [*several, *(kwargs or {}).values()]
    names = list(bound.signature.parameters)
    # They are given by place later on.
    gap = [*bound.arguments] != names[: len(bound.arguments)]
    return [] if gap else [*bound.arguments.values()]


def _fits(given: list[Any], features: SoundFeatures) -> bool:
    import torch

    if not 1 <= len(given) <= 2 or not all(isinstance(each, torch.Tensor) for each in given):
        return False
    data, *lengths = given
    right = data.dtype == torch.float32 and data.dim() == 3 and data.shape[2] == features.width
    return right and all(
        each.dtype == torch.int64 and each.shape == data.shape[:1] for each in lengths
    )


def _describe(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is None:
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')}{list(shape)}"
