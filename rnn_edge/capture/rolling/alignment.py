"""The same module traced at several sizes: what stays, what repeats, what follows the sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from rnn_edge.capture.rolling.affine import Affine, fit
from rnn_edge.capture.rolling.curves import Curve, fit_curve, tabulate
from rnn_edge.capture.rolling.layouts import Layout, Sizes, Spot
from rnn_edge.capture.rolling.program import (
    Argument,
    Collected,
    Loop,
    LoopValue,
    Number,
    OwnValue,
    PlainValue,
    RolledProgram,
    RolledStep,
)
from rnn_edge.capture.rolling.runs import Run, describe, find_runs, is_worthwhile
from rnn_edge.capture.rolling.trace import Place, Step, Trace
from rnn_edge.errors import ExportError

# Operators that take a list of tensors, and may be given what a loop has collected.
JOINING = (torch.ops.aten.stack.default, torch.ops.aten.cat.default)


class NotRollableError(ExportError):
    """The traces do not show one loop; the message names the construct and its source line."""


def vary(sizes: Mapping[str, int], fixed: Sequence[str], further: int) -> list[dict[str, int]]:
    """The sizes to trace at: as they are, each of ``fixed`` one more, all of them ``further``."""
    ones = [{**sizes, axis: sizes[axis] + 1} for axis in fixed]
    return [dict(sizes), *ones, {**sizes, **{axis: sizes[axis] + further for axis in fixed}}]


def align(traces: Sequence[tuple[Sizes, Trace]]) -> RolledProgram:
    """One program for all sizes from the same module's ``traces`` at several.

    Raises NotRollableError where they differ by more than the number of iterations.
    """
    return _align_runs(traces, _select_growing(_find_groups(traces), len(traces)))


def align_with_repeats(traces: Sequence[tuple[Sizes, Trace]]) -> RolledProgram:
    """As align(), with the loops of a fixed number of iterations rolled, too, that can be.

    There may be one trace only, which may have no sizes.
    """
    groups = _find_groups(traces)
    runs = _select_growing(groups, len(traces))
    program = _align_runs(traces, runs)
    for group in groups:
        if len({(run.period, run.count) for run in group}) > 1 or not is_worthwhile(group[0]):
            continue
        more = [sorted([*own, run], key=lambda one: one.start)
                for own, run in zip(runs, group, strict=True)]  # fmt: skip
        try:
            program, runs = _align_runs(traces, more), more
        except NotRollableError:
            continue
    return program


def _align_runs(
    traces: Sequence[tuple[Sizes, Trace]], runs: Sequence[Sequence[Run]]
) -> RolledProgram:
    layouts = [Layout(t, s, own) for (s, t), own in zip(traces, runs, strict=True)]
    if not _same_plain_steps(layouts):
        raise _differ()
    first = layouts[0]
    items: list[RolledStep | Loop] = []
    for entry in first.order:
        if entry >= 0:
            items.append(_align_plain([layout.plain[entry] for layout in layouts], layouts))
        else:
            items.append(_align_loop(-1 - entry, layouts))
    points = [(layout.sizes, 0) for layout in layouts]
    returned = _merge(
        [layout.trace.returned for layout in layouts], layouts, points, "what forward() returns"
    )
    return RolledProgram(tuple(items), returned, first.trace.sources)


def _find_groups(traces: Sequence[tuple[Sizes, Trace]]) -> list[tuple[Run, ...]]:
    """Each run of the first trace with those that it is in the others."""
    found = [find_runs(trace) for _, trace in traces]
    groups = list(zip(*found, strict=False))
    if any(len(runs) > len(groups) for runs in found) or any(
        len({run.period for run in group}) > 1 for group in groups
    ):
        raise _differ()
    return groups


def _select_growing(groups: Sequence[tuple[Run, ...]], traces: int) -> list[list[Run]]:
    """In each trace, the runs that are not of one length in all of them."""
    growing = [group for group in groups if len({run.count for run in group}) > 1]
    return [[group[place] for group in growing] for place in range(traces)]


def _differ() -> NotRollableError:
    return NotRollableError(
        "a loop over time must do the same in every iteration to be exported, "
        "the iterations differ. Make them alike, or vectorise the loop."
    )


def _same_plain_steps(layouts: Sequence[Layout]) -> bool:
    first = layouts[0]
    return all(
        layout.order == first.order
        and all(
            describe(one, {}) == describe(other, {})
            for one, other in zip(layout.plain, first.plain, strict=True)
        )
        for layout in layouts
    )


def _align_plain(steps: Sequence[Step], layouts: Sequence[Layout]) -> RolledStep:
    points = [(layout.sizes, 0) for layout in layouts]
    line = steps[0].line or str(steps[0].target)
    lists = [step.args[0] for step in steps] if steps[0].target in JOINING else []
    if lists and _collects(lists, layouts, whatever_length=True):
        joined = _merge_list(lists, layouts, points, line)
        args = (joined, *_merge([step.args[1:] for step in steps], layouts, points, line))
    else:
        args = _merge([step.args for step in steps], layouts, points, line)
    kwargs = _merge([step.kwargs for step in steps], layouts, points, line)
    return RolledStep(steps[0].target, args, kwargs, line)


def _align_loop(number: int, layouts: Sequence[Layout]) -> Loop:
    counts = [layout.runs[number].count for layout in layouts]
    count = fit([(layout.sizes, 0) for layout in layouts], counts)
    if count is None:
        raise NotRollableError(
            "the number of iterations of a loop must follow the sizes in a straight line, "
            f"got {counts}. Loop over every step."
        )
    body = []
    for step in range(layouts[0].runs[number].period):
        copies, where = [], []
        for layout in layouts:
            for iteration in range(layout.runs[number].count):
                copies.append(layout.body_step(number, step, iteration))
                where.append((layout, iteration))
        line = copies[0].line or str(copies[0].target)
        merge = _LoopMerge(number, where, line)
        args = merge.merge([copy.args for copy in copies])
        kwargs = merge.merge([copy.kwargs for copy in copies])
        body.append(RolledStep(copies[0].target, args, kwargs, line))
    return Loop(number, count, tuple(body))


def _merge(
    versions: Sequence[Any],
    layouts: Sequence[Layout],
    points: Sequence[tuple[Sizes, int]],
    line: str,
) -> Argument:
    """One argument outside of loops, from its version in each trace."""
    head = versions[0]
    if isinstance(head, tuple):
        if any(isinstance(item, Place) for item in head) and _collects(versions, layouts):
            return _merge_list(versions, layouts, points, line)
        if len({len(version) for version in versions}) > 1:
            raise differs(line)
        return tuple(_merge(parts, layouts, points, line) for parts in zip(*versions, strict=True))
    if isinstance(head, dict):
        return {key: _merge([v[key] for v in versions], layouts, points, line) for key in head}
    if isinstance(head, Place):
        spots = [layout.spots[v.index] for v, layout in zip(versions, layouts, strict=True)]
        return _merge_spots(spots, head.item, points, line)
    return merge_constants(versions, points, line)


def _collects(
    versions: Sequence[Any], layouts: Sequence[Layout], whatever_length: bool = False
) -> bool:
    """Whether a list holds results of several iterations, as many as there are.

    With ``whatever_length``, those of a loop with as many iterations in every trace count, too.
    """
    fixed = [len({run.count for run in runs}) == 1 and whatever_length
             for runs in zip(*(layout.runs for layout in layouts), strict=True)]  # fmt: skip
    grows = len({len(version) for version in versions}) > 1

    def counts(item: Any, layout: Layout) -> bool:
        loop = layout.spots[item.index].loop if isinstance(item, Place) else -1
        return loop >= 0 and (grows or fixed[loop])

    return any(
        sum(counts(item, layout) for item in version) > 1
        for version, layout in zip(versions, layouts, strict=True)
    )


def _merge_list(
    versions: Sequence[Any],
    layouts: Sequence[Layout],
    points: Sequence[tuple[Sizes, int]],
    line: str,
) -> Argument:
    pieces = [_pieces(version, layout) for version, layout in zip(versions, layouts, strict=True)]
    if len({len(piece) for piece in pieces}) > 1:
        raise differs(line)
    merged = []
    for column in zip(*pieces, strict=True):
        if not isinstance(column[0], list):
            merged.append(_merge(column, layouts, points, line))
            continue
        spots = [[layout.spots[place.index] for place in stretch]
                 for stretch, layout in zip(column, layouts, strict=True)]  # fmt: skip
        kinds = {(s.loop, s.step, place.item) for stretch, places in zip(spots, column, strict=True)
                 for s, place in zip(stretch, places, strict=True)}  # fmt: skip
        first = fit(points, [stretch[0].iteration for stretch in spots])
        count = fit(points, [len(stretch) for stretch in spots])
        if len(kinds) > 1 or first is None or count is None:
            raise differs(line)
        loop, step, item = kinds.pop()
        direction = spots[0][1].iteration - spots[0][0].iteration
        merged.append(Collected(loop, step, item, first, count, direction))
    return tuple(merged)


def _pieces(version: Sequence[Any], layout: Layout) -> list[Any]:
    """Cut a list into single items and stretches of neighbouring iterations of one step."""
    pieces: list[Any] = []
    for item in version:
        spot = layout.spots[item.index] if isinstance(item, Place) else None
        last = pieces[-1] if pieces else None
        if spot is not None and spot.loop >= 0 and isinstance(last, list):
            before = layout.spots[last[-1].index]
            step = spot.iteration - before.iteration
            ways = [layout.spots[last[1].index].iteration - layout.spots[last[0].index].iteration] \
                if len(last) > 1 else [1, -1]  # fmt: skip
            if (before.loop, before.step, last[-1].item) == (spot.loop, spot.step, item.item) \
                    and step in ways:  # fmt: skip
                last.append(item)
                continue
        pieces.append([item] if spot is not None and spot.loop >= 0 else item)
    return [p[0] if isinstance(p, list) and len(p) == 1 else p for p in pieces]


def _merge_spots(
    spots: Sequence[Spot], item: int | None, points: Sequence[tuple[Sizes, int]], line: str
) -> PlainValue | LoopValue:
    if spots[0].loop < 0:
        if len({spot.plain for spot in spots}) > 1 or any(spot.loop >= 0 for spot in spots):
            raise differs(line)
        return PlainValue(spots[0].plain, item)
    iteration = fit(points, [spot.iteration for spot in spots])
    if len({(spot.loop, spot.step) for spot in spots}) > 1 or iteration is None:
        raise differs(line)
    return LoopValue(spots[0].loop, spots[0].step, item, iteration)


def merge_constants(
    versions: Sequence[Any],
    points: Sequence[tuple[Sizes, int]],
    line: str,
    always_as_many: bool = False,
) -> Any:
    """One number or other constant, from its versions at ``points``.

    A number of a loop with ``always_as_many`` iterations may be anything in each of them.
    """
    head = versions[0]
    if all(version == head and type(version) is type(head) for version in versions):
        if isinstance(head, (int, float)) and not isinstance(head, bool):
            return Number(Affine(head, (0,) * len(points[0][0])), isinstance(head, int))
        return head
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in versions):
        whole = all(isinstance(version, int) for version in versions)
        numbers = [version if whole else float(version) for version in versions]
        value: Affine | Curve | None = fit(points, numbers)
        if value is None:
            value = fit_curve(points, numbers)
        if value is None and always_as_many:
            value = tabulate(points, numbers)
        if value is not None:
            return Number(value, whole)
    raise NotRollableError(
        f"numbers in a loop must follow the step or the sizes by a formula, got "
        f"{', '.join(str(version) for version in versions[:4])} at {line}. "
        "Compute them from a tensor, torch.arange(x.shape[1]) say."
    )


class _LoopMerge:
    """Merges the copies of one step of one loop's body."""

    def __init__(self, loop: int, where: Sequence[tuple[Layout, int]], line: str) -> None:
        self.loop = loop
        self.where = where
        self.line = line
        self.points = [(layout.sizes, iteration) for layout, iteration in where]
        self.always_as_many = len({layout.runs[loop].count for layout, _ in where}) == 1

    def merge(self, versions: Sequence[Any]) -> Argument:
        head = versions[-1]
        if isinstance(head, tuple):
            if len({len(version) for version in versions}) > 1:
                raise differs(self.line)
            return tuple(self.merge(parts) for parts in zip(*versions, strict=True))
        if isinstance(head, dict):
            return {key: self.merge([version[key] for version in versions]) for key in head}
        if isinstance(head, Place):
            return self._merge_places(versions)
        return merge_constants(versions, self.points, self.line, self.always_as_many)

    def _merge_places(self, versions: Sequence[Any]) -> Argument:
        spots = [
            layout.spots[version.index] if isinstance(version, Place) else version
            for version, (layout, _) in zip(versions, self.where, strict=True)
        ]
        last, (_, iteration) = spots[-1], self.where[-1]
        item = versions[-1].item
        if last.loop == self.loop:
            return self._merge_own(versions, spots, last, item, iteration - last.iteration)
        if any(not isinstance(spot, Spot) for spot in spots):
            raise differs(self.line)
        return _merge_spots(spots, item, self.points, self.line)

    def _merge_own(
        self, versions: Sequence[Any], spots: Sequence[Any], last: Spot, item: int | None,
        delay: int,
    ) -> OwnValue:  # fmt: skip
        before: dict[int, list[tuple[Layout, Any]]] = {}
        for version, spot, (layout, iteration) in zip(versions, spots, self.where, strict=True):
            if iteration < delay:
                before.setdefault(iteration - delay, []).append((layout, version))
            elif (
                not isinstance(spot, Spot)
                or (spot.loop, spot.step, spot.iteration)
                != (self.loop, last.step, iteration - delay)
                or version.item != item
            ):
                raise differs(self.line)
        initial = []
        for place in range(-1, -delay - 1, -1):
            pairs = before[place]
            layouts = [layout for layout, _ in pairs]
            points = [(layout.sizes, 0) for layout in layouts]
            initial.append(_merge([version for _, version in pairs], layouts, points, self.line))
        return OwnValue(last.step, item, delay, tuple(initial))


def differs(line: str) -> NotRollableError:
    return NotRollableError(
        "a loop over time must do the same in every iteration to be exported, "
        f"the iterations differ at {line}. Make them alike, or vectorise the loop."
    )
