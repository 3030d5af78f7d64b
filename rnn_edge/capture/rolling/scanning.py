"""What a scan must be given and must not be given, so that ONNX Runtime can run it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import make_contiguous_strides_for
from torch.fx.experimental.symbolic_shapes import statically_known_true

from rnn_edge.capture.rolling.alignment import NotRollableError


def fit_to_carry(
    initial: list[Tensor], module: Any, scanned: list[Tensor], invariants: list[Any]
) -> list[Tensor]:
    """Initial states with the shape and dtype that the first iteration gives them.

    A state of one row, or a whole number, becomes what arithmetic in the loop makes of it.
    """
    for _ in initial:
        following = module(*initial, *scanned, *invariants)[: len(initial)]
        if all(_are_alike(one, other) for one, other in zip(initial, following, strict=True)):
            break
        initial = [
            one if _are_alike(one, other) else one.to(other.dtype).expand(other.shape).contiguous()
            for one, other in zip(initial, following, strict=True)
        ]
    return initial


def _are_alike(one: Tensor, other: Tensor) -> bool:
    return (
        one.dtype == other.dtype
        and one.dim() == other.dim()
        and all(
            isinstance(a, torch.SymInt) or (isinstance(b, torch.SymInt) and a != 1) or a == b
            for a, b in zip(one.shape, other.shape, strict=True)
        )
    )


def explain_carry(
    initial: Sequence[Tensor], following: Sequence[Tensor], lines: Sequence[str]
) -> NotRollableError:
    """Why a scan does not take the states: one is not in the next iteration what it was.

    ``lines`` is where each of them is computed.
    """
    for one, other, line in zip(initial, following, lines, strict=False):
        same = one.dim() == other.dim() and all(
            statically_known_true(a == b) for a, b in zip(one.shape, other.shape, strict=True)
        )
        if not same:
            return NotRollableError(
                "what goes from iteration to iteration of a loop must keep its sizes to be "
                f"exported, it becomes longer or shorter at {line}. Keep it at its full size, and "
                "mask what is not in use with torch.where."
            )
    return NotRollableError(
        "what goes from iteration to iteration of a loop must stay what it is to be exported, its "
        f"type or memory changes at {lines[0] if lines else 'a step'}. Use .to(h.dtype) and "
        ".contiguous() at the end of the step."
    )


def with_plain_memory(module: Any, carries: int) -> Any:
    """A body whose states lie in memory as those that it starts from: a scan compares that."""

    def run(*given: Any) -> list[Any]:
        states, rest = given[:carries], given[carries:]
        outputs = list(module(*states, *rest))
        return [*map(_in_plain_memory, outputs[:carries]), *outputs[carries:]]

    return run


def _in_plain_memory(state: Tensor) -> Tensor:
    """``state`` in order, with the strides of a new tensor: those of axes of 1 may be others."""
    state = state.contiguous()
    plain = make_contiguous_strides_for(state.shape)
    if all(statically_known_true(a == b) for a, b in zip(state.stride(), plain, strict=True)):
        return state
    return state.clone(memory_format=torch.contiguous_format)


def with_idle_carry(module: Any) -> Any:
    """A body without carries, with one that stays as it is: a scan needs one."""

    def run(idle: Tensor, *rest: Any) -> list[Tensor]:
        return [idle.clone(), *module(*rest)]

    return run


def with_idle_input(module: Any, carries: int) -> Any:
    """A body that takes nothing step by step, with a counter that it does not read."""

    def run(*given: Any) -> Any:
        return module(*given[:carries], *given[carries + 1 :])

    return run


def with_sizes_as_shapes(
    module: Any, before: int, invariants: Sequence[Any]
) -> tuple[Any, list[Tensor]]:
    """``module`` and its invariants, each symbolic size among them the shape of a tensor.

    ``before`` values are given before the invariants. A scan takes tensors alone.
    """
    places = [place for place, value in enumerate(invariants) if isinstance(value, torch.SymInt)]
    if not places:
        return module, list(invariants)
    shaped = [
        torch.zeros(1).expand(value) if place in places else value
        for place, value in enumerate(invariants)
    ]

    def run(*given: Any) -> Any:
        own = list(given)
        for place in places:
            own[before + place] = own[before + place].shape[0]
        return module(*own)

    return run, shaped


def with_a_spare(scanned: Tensor, length: Any) -> Tensor:
    """At least one slice, since ONNX Runtime's Scan refuses none: zeros where there is none."""
    spare = scanned.new_zeros((1, *scanned.shape[1:]))
    return torch.cat([scanned, spare]).narrow(0, 0, torch.sym_max(length, 1))


def without_the_spare(
    outputs: list[Tensor], initial: Sequence[Tensor], length: Any
) -> list[Tensor]:
    """What a scan would have given without the spare slice."""
    ran = torch.scalar_tensor(length, dtype=torch.int64) > 0
    last = [torch.where(ran, one, other) for one, other in zip(outputs, initial, strict=False)]
    return [*last, *(tensor.narrow(0, 0, length) for tensor in outputs[len(initial) :])]
