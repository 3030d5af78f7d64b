"""The ways to roll a module back from its traces, the plainest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from rnn_edge.capture.rolling.alignment import (
    NotRollableError,
    Sizes,
    align,
    align_with_repeats,
    vary,
)
from rnn_edge.capture.rolling.folded import FoldedLoop
from rnn_edge.capture.rolling.folding import fold_inner_loops
from rnn_edge.capture.rolling.ordering import take_where_used
from rnn_edge.capture.rolling.phases import align_phases
from rnn_edge.capture.rolling.program import Loop, Quotient, RolledProgram
from rnn_edge.capture.rolling.pruning import prune
from rnn_edge.capture.rolling.steps import without_unused
from rnn_edge.capture.rolling.trace import Trace

# For axes that are looped over: long enough to show what repeats itself.
_LOOPED_SIZES = (8, 15, 21, 33)
# Long enough for three times the longest period, and one size for each place in it.
_PERIODIC_SIZES = (12, 13, 14, 15, 16, 17, 21)
_PERIODS = (2, 3, 4)


def roll(
    trace_at: Callable[[Mapping[str, int]], Trace], sizes: Mapping[str, int], fixed: Sequence[str]
) -> list[RolledProgram]:
    """The programs that ``trace_at`` shows at several sizes of the axes ``fixed``.

    The last one has the loops alone that follow the sizes, one before it others as well.
    """
    sizes = {**sizes, **dict(zip(fixed, _LOOPED_SIZES, strict=False))}
    traces = _trace_all(trace_at, vary(sizes, fixed), fixed)
    try:
        found = _align_any(traces, align)
    except NotRollableError:
        nested = _roll_nested(traces)
        if nested is not None:
            return [nested]
        if len(fixed) > 1:
            raise
        periodic = [{**sizes, fixed[0]: size} for size in _PERIODIC_SIZES]
        traced = _trace_all(trace_at, periodic, fixed)
        periodic_program = _roll_periodic([(s, without_unused(trace)) for s, trace in traced])
        if periodic_program is None:
            raise
        return [periodic_program]
    others = [_roll_nested(traces), _align_any(traces, align_with_repeats)]
    smaller = [one for one in others if one and _count_steps(one) < _count_steps(found)]
    return [*sorted(smaller, key=_count_steps), found]


def _roll_nested(traces: Sequence[tuple[Sizes, Trace]]) -> RolledProgram | None:
    """With loops inside of loops as one step each; None where there are none that can be."""
    for change in (without_unused, _as_it_is, take_where_used):
        folded = [(sizes, fold_inner_loops(change(trace))) for sizes, trace in traces]
        if not any(_has_inner_loops(trace) for _, trace in folded):
            continue
        try:
            return prune(_align_any(folded, align_with_repeats))
        except NotRollableError:
            continue
    return None


def _as_it_is(trace: Trace) -> Trace:
    return trace


def _has_inner_loops(trace: Trace) -> bool:
    return any(isinstance(step.target, FoldedLoop) for step in trace.steps)


def roll_repeats(trace: Trace) -> RolledProgram | None:
    """The program of a module that follows all sizes, its loops of fixed length rolled."""
    traces: list[tuple[Sizes, Trace]] = [((), trace)]
    orders: list[list[tuple[Sizes, Trace]]] = [traces, [((), take_where_used(trace))]]
    found = [_align_either(each, align_with_repeats) for each in orders]
    best = min(found, key=_count_steps)
    return best if _count_loops(best) else None


_Align: TypeAlias = Callable[[Sequence[tuple[Sizes, Trace]]], RolledProgram]


def _align_any(traces: Sequence[tuple[Sizes, Trace]], align: _Align) -> RolledProgram:
    """As the steps stand, or with what is taken apart before a loop taken inside of it."""
    try:
        return _align_either(traces, align)
    except NotRollableError as error:
        moved = [(sizes, take_where_used(trace)) for sizes, trace in traces]
        try:
            return _align_either(moved, align)
        except NotRollableError:
            raise error from None


def _align_either(traces: Sequence[tuple[Sizes, Trace]], align: _Align) -> RolledProgram:
    """With all steps or with those alone that a result needs: where more of them are in loops.

    A last iteration of which not everything is needed is like the others in the one, steps that
    are not alike but needed by nothing do no harm in the other.
    """
    needed = [(sizes, without_unused(trace)) for sizes, trace in traces]
    try:
        found = align(needed)
    except NotRollableError as error:
        try:
            return prune(align(traces))
        except NotRollableError:
            raise error from None
    lengths = [[len(trace.steps) for _, trace in each] for each in (needed, traces)]
    if lengths[0] == lengths[1]:
        return found
    try:
        return min(prune(align(traces)), found, key=_count_steps)
    except NotRollableError:
        return found


def _count_steps(program: RolledProgram) -> int:
    return sum(len(item.body) if isinstance(item, Loop) else 1 for item in program.items)


def _count_loops(program: RolledProgram) -> int:
    return sum(isinstance(item, Loop) for item in program.items)


def _trace_all(
    trace_at: Callable[[Mapping[str, int]], Trace],
    sizes: Sequence[Mapping[str, int]],
    fixed: Sequence[str],
) -> list[tuple[Sizes, Trace]]:
    return [(tuple(varied[axis] for axis in fixed), trace_at(varied)) for varied in sizes]


def _roll_periodic(traces: Sequence[tuple[Sizes, Trace]]) -> RolledProgram | None:
    """Loops over every k-th step, or whose iterations repeat after k."""
    for period in _PERIODS:
        try:
            return align_phases(traces, period)
        except NotRollableError:
            pass
    for quotient in _quotients():
        extended = [((*sizes, quotient.of(sizes)), trace) for sizes, trace in traces]
        try:
            return replace(align(extended), quotients=(quotient,))
        except NotRollableError:
            pass
    return None


def _quotients() -> Iterator[Quotient]:
    """Whole groups of k steps, and groups of which the last one may be short."""
    for period in _PERIODS:
        yield Quotient(0, 0, period)
        yield Quotient(0, period - 1, period)
