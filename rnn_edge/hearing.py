"""A module that reads features of sound is exported behind them: what the export then takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rnn_edge.contract import AudioFrontEnd, AxisLimits, CtcDecoder, Decoder, is_written
from rnn_edge.errors import InputError
from rnn_edge.sound_features import SoundFeatures

if TYPE_CHECKING:
    from torch import Tensor, nn

_SEED = 0
_LOUDNESS = 0.1


@dataclass(frozen=True)
class Hearing:
    """``module`` takes ``args``: samples in rows, maybe those of each row, maybe ids of a text.

    ``names`` are what its inputs are called, by the names of those that stood in their places.
    """

    module: nn.Module
    args: tuple[Tensor, ...]
    axes: list[tuple[str, ...]]
    limits: dict[str, AxisLimits]
    front_end: AudioFrontEnd
    decoder: Decoder | None
    names: dict[str, str]


def put_hearing(
    features: SoundFeatures,
    module: nn.Module,
    args: Any,
    kwargs: Mapping[str, Any] | None,
    decoder: Decoder | None,
) -> Hearing:
    """``module`` behind ``features``.

    ``args`` and ``kwargs`` are examples of what ``module`` takes: float32[batch, frames, width],
    and maybe the frames of each row, int64[batch]; where ``decoder`` writes texts, last of all
    int64[batch, steps], ids of what has been written. Raises InputError.
    """
    import torch

    from rnn_edge.models.log_mel import OnSamples, put_on_samples

    given = _in_order(module, args, kwargs)
    writes = is_written(decoder)
    heard_of = given[:-1] if writes else given
    if not _fits(heard_of, features) or (writes and not _are_ids(given[-1], given[0])):
        told = ", ".join(_describe(value) for value in given)
        ids = " and last of all ids, int64[batch, steps]," if writes else ""
        raise InputError(
            f"a module behind features of sound must take float32[batch, frames, {features.width}] "
            f"and maybe the frames of each row, int64[batch], first of all,{ids} got {told}. "
            "Correct the inputs, or the front end."
        )
    rows, frames = given[0].shape[:2]
    count = features.shortest + (frames - 1) * features.hop
    random = torch.Generator().manual_seed(_SEED)
    placed: tuple[Tensor, ...] = (_LOUDNESS * torch.randn(rows, count, generator=random),)
    # Texts are written along the axis of their ids.
    time = "samples" if writes else "sequence"
    axes: list[tuple[str, ...]] = [("batch", time)]
    if len(heard_of) > 1:
        placed += (features.shortest + (given[1].clamp(min=1) - 1) * features.hop,)
        axes.append(("batch",))
    if writes:
        placed += (given[-1],)
        axes.append(("batch", "sequence"))
    heard = put_on_samples(features, module, len(heard_of) > 1, decoder)
    if isinstance(decoder, CtcDecoder) and isinstance(heard, OnSamples):
        decoder = replace(decoder, stride=features.hop * heard.given.stride)
    return Hearing(
        heard,
        placed,
        axes,
        {time: AxisLimits(features.shortest)},
        AudioFrontEnd(features.rate, features.text),
        decoder,
        dict(zip(_parameters(module), _parameters(heard), strict=False)),
    )


def _parameters(module: nn.Module) -> list[str]:
    return list(inspect.signature(module.forward).parameters)


def _are_ids(given: Any, features: Any) -> bool:
    import torch

    ids = isinstance(given, torch.Tensor) and given.dtype == torch.int64 and given.dim() == 2
    return ids and given.shape[0] == features.shape[0]


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
