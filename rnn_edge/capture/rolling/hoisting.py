"""Products that stand before a loop, put back into it: there they are seen to be a cell's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from rnn_edge.capture.rolling.affine import Affine
from rnn_edge.capture.rolling.drafts import Draft
from rnn_edge.capture.rolling.program import (
    Loop,
    Number,
    PlainValue,
    RolledProgram,
    RolledStep,
    walk,
)
from rnn_edge.capture.rolling.shapes import Shapes
from rnn_edge.capture.rolling.trace import Source

_ATEN = torch.ops.aten


def sink_products(program: RolledProgram, loop: Loop, shapes: Shapes) -> RolledProgram | None:
    """``program`` with one more operator inside ``loop``: op(x)[:, t] as op(x[:, t]).

    None where no slice of ``loop`` is of an operator along the last axis.
    """
    plain = [item for item in program.items if isinstance(item, RolledStep)]
    draft = Draft(loop)
    has_changed = False
    for number, step in enumerate(loop.body):
        if step.target is not _ATEN.select.int or not isinstance(step.args[0], PlainValue):
            continue
        value, dim, place = step.args
        whole = shapes.of(loop.number, value)
        if whole is None or not place.value.by_iteration:
            continue
        producer = plain[value.index]
        axis = dim.value.constant % whole.dim()
        if producer.target is _ATEN.transpose.int:
            axes = [int(one.value.constant) % whole.dim() for one in producer.args[1:]]
            swapped = dict(zip(axes, reversed(axes), strict=True))
            if whole.dim() != 3 or set(axes) != {0, 1}:
                continue
            draft.exchange(number, replace(step, args=(
                producer.args[0], _whole(swapped.get(axis, axis), dim), place)))  # fmt: skip
            has_changed = True
            continue
        if not _is_along_the_last_axis(producer, whole.dim(), axis, shapes):
            continue
        inner = draft.add(replace(step, args=(producer.args[0], _whole(axis, dim), place)))
        args = (inner, *producer.args[1:])
        if producer.target in _SPLITTING:
            args = (inner, producer.args[1], _whole(-1, dim))
            pieces = draft.add(RolledStep(producer.target, args, {}, producer.line))
            draft.use_instead(number, pieces.step, value.item)
        elif producer.target is _ATEN.slice.Tensor:
            args = (inner, _whole(-1, dim), *producer.args[2:])
            draft.exchange(number, RolledStep(producer.target, args, {}, producer.line))
        else:
            draft.exchange(number, replace(producer, args=args))
        has_changed = True
    return draft.finish(program) if has_changed else None


_SPLITTING = (_ATEN.chunk.default, _ATEN.split_with_sizes.default)


def _whole(value: int, like: Number) -> Number:
    return Number(Affine(value, (0,) * len(like.value.by_size)), True)


def _is_along_the_last_axis(step: RolledStep, rank: int, axis: int, shapes: Shapes) -> bool:
    """Whether ``step`` treats what lies at each place of ``axis`` alike, one at a time."""
    if step.kwargs or axis >= rank - 1:
        return False
    first, *others = step.args
    like = shapes.of(-1, first) if isinstance(first, (Source, PlainValue)) else None
    if like is None or like.dim() != rank:
        return False
    if step.target is _ATEN.slice.Tensor or step.target in _SPLITTING:
        dims = others[:1] if step.target is _ATEN.slice.Tensor else others[1:]
        return len(dims) == 1 and dims[0].value.constant in (-1, rank - 1)
    if step.target not in (_ATEN.linear.default, _ATEN.matmul.default, _ATEN.add.Tensor,
                           _ATEN.mul.Tensor):  # fmt: skip
        return False
    ranks = {_ATEN.linear.default: 2, _ATEN.matmul.default: 2}
    most = ranks.get(step.target, 1)
    given = [shapes.of(-1, other) for other in walk(tuple(others)) if isinstance(other, _VALUES)]
    return all(one is not None and one.dim() <= most for one in given)


_VALUES: tuple[Any, ...] = (Source, PlainValue)
