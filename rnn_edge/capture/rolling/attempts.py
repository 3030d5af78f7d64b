"""The ways to roll a module back from its traces, the plainest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from rnn_edge.capture.rolling.alignment import (
    NotRollableError,
    align,
    align_with_repeats,
    vary,
)
from rnn_edge.capture.rolling.folded import FoldedLoop
from rnn_edge.capture.rolling.folding import fold_inner_loops
from rnn_edge.capture.rolling.layouts import Sizes
from rnn_edge.capture.rolling.numbers import refuse_carried_numbers
from rnn_edge.capture.rolling.ordering import take_where_used
from rnn_edge.capture.rolling.phases import align_opening, align_phases
from rnn_edge.capture.rolling.program import Loop, Quotient, RolledProgram, RolledStep
from rnn_edge.capture.rolling.pruning import prune
from rnn_edge.capture.rolling.runs import FEWEST_FIXED
from rnn_edge.capture.rolling.steps import share_states, without_unused
from rnn_edge.capture.rolling.tables import forward_writes
from rnn_edge.capture.rolling.trace import Trace
from rnn_edge.errors import ExportError

# For axes that are looped over, and how much further all of them go: long enough to show what
# repeats itself. The first are cheap, the second longer than usual kernels and slices.
_LOOPED_SIZES = ((5, 7, 15, 23), (8, 15, 21, 33))
_FURTHER = (6, 3)
# A loop in a loop takes the product of both.
_FURTHER_BOTH = 3
# Long enough for three times the longest period, and one size for each place in it.
_PERIODIC_SIZES = (12, 13, 14, 15, 16, 17, 21)
_PERIODS = (2, 3, 4)
# So many iterations may differ from those behind them.
_LONGEST_OPENING = 12
_Align: TypeAlias = Callable[[Sequence[tuple[Sizes, Trace]]], RolledProgram]


def roll(
    trace_at: Callable[[Mapping[str, int]], Trace], sizes: Mapping[str, int], fixed: Sequence[str]
) -> list[RolledProgram]:
    """The programs that ``trace_at`` shows at several sizes of the axes ``fixed``.

    The last one has the loops alone that follow the sizes, one before it others as well.
    """
    known: dict[Sizes, Trace] = {}

    def trace_once(at: Mapping[str, int]) -> Trace:
        key = tuple(at[axis] for axis in fixed)
        if key not in known:
            known[key] = trace_at(at)
        return known[key]

    try:
        programs = _roll_growing(trace_once, sizes, fixed)
    except NotRollableError:
        if len(fixed) > 1:
            raise
        found = _roll_periodic(trace_once, sizes, fixed) or _roll_opening(
            trace_once, sizes, fixed, _LONGEST_OPENING
        )
        if found is None:
            raise
        return [found]
    missing = -min((item.count.at((1,) * len(fixed)) for item in programs[-1].items
                    if isinstance(item, Loop)), default=0)  # fmt: skip
    if len(fixed) == 1 and missing > 0:
        # There are sizes at which a loop has less than no iterations.
        found = _roll_opening(trace_once, sizes, fixed, int(missing) + 2)
        return [found] if found else programs
    return programs


def _roll_growing(
    trace_once: Callable[[Mapping[str, int]], Trace],
    sizes: Mapping[str, int],
    fixed: Sequence[str],
) -> list[RolledProgram]:
    further = _FURTHER[0] if len(fixed) == 1 else _FURTHER_BOTH
    try:
        return _roll_at(trace_once, vary(choose_sizes(sizes, fixed), fixed, further), fixed)
    except ExportError:
        # What is wider than those sizes, or begins late, would not show.
        longer = choose_sizes(sizes, fixed, 1)
    return _roll_at(trace_once, vary(longer, fixed, _FURTHER[1]), fixed)


def choose_sizes(sizes: Mapping[str, int], fixed: Sequence[str], row: int = 0) -> dict[str, int]:
    """``sizes`` with those at which the axes ``fixed`` are traced first."""
    return {**sizes, **dict(zip(fixed, _LOOPED_SIZES[row], strict=False))}


def _roll_at(
    trace_at: Callable[[Mapping[str, int]], Trace],
    varied: Sequence[Mapping[str, int]],
    fixed: Sequence[str],
) -> list[RolledProgram]:
    traces = _trace_all(trace_at, varied, fixed)
    for forwarded in _forward_writes(traces):
        try:
            return _roll_traces(forwarded)
        except NotRollableError:
            continue
    return _roll_traces(traces)


def _forward_writes(
    traces: Sequence[tuple[Sizes, Trace]],
) -> Iterator[list[tuple[Sizes, Trace]]]:
    """The traces without what is written at places of two loops and read again."""
    for elements in (True, False):
        forwarded = [(sizes, forward_writes(trace, elements)) for sizes, trace in traces]
        found = [(sizes, trace) for sizes, trace in forwarded if trace is not None]
        if len(found) == len(traces):
            yield found


def _roll_traces(traces: Sequence[tuple[Sizes, Trace]]) -> list[RolledProgram]:
    try:
        found = _align_any(traces, align)
    except NotRollableError:
        nested = _roll_nested(traces, align)
        if nested is None:
            raise
        return _with_smaller(nested, [_roll_nested(traces, align_with_repeats)])
    others = []
    if any(_may_repeat(item.body) for item in found.items if isinstance(item, Loop)):
        others.append(_roll_nested(traces, align_with_repeats))
    if _may_repeat([item for item in found.items if isinstance(item, RolledStep)]):
        others.append(_roll_with_repeats(traces))
    return _with_smaller(found, others)


def _with_smaller(
    program: RolledProgram, others: Sequence[RolledProgram | None]
) -> list[RolledProgram]:
    smaller = [one for one in others if one and _count_steps(one) < _count_steps(program)]
    return [*sorted(smaller, key=_count_steps), program]


def _may_repeat(steps: Sequence[RolledStep]) -> bool:
    """Whether one operator of one source line stands there as often as in a loop."""
    counts = Counter((step.target, step.line) for step in steps)
    return max(counts.values(), default=0) >= FEWEST_FIXED


def _roll_with_repeats(traces: Sequence[tuple[Sizes, Trace]]) -> RolledProgram | None:
    """With the loops of fixed length as well, those that are inside of no other one."""
    try:
        shared = [(sizes, share_states(trace)) for sizes, trace in traces]
        return _align_any(shared, align_with_repeats)
    except NotRollableError:
        return None


def _roll_nested(traces: Sequence[tuple[Sizes, Trace]], align: _Align) -> RolledProgram | None:
    """With loops inside of loops as one step each; None where there are none that can be."""
    for change in (without_unused, _as_it_is, take_where_used):
        # One trace tells whether there are any.
        if not _has_inner_loops(fold_inner_loops(share_states(change(traces[0][1])))):
            continue
        folded = [(sizes, fold_inner_loops(share_states(change(trace)))) for sizes, trace in traces]
        try:
            return prune(_align_any(folded, align))
        except NotRollableError:
            continue
    return None


def _as_it_is(trace: Trace) -> Trace:
    return trace


def _has_inner_loops(trace: Trace) -> bool:
    return any(isinstance(step.target, FoldedLoop) for step in trace.steps)


def roll_repeats(trace: Trace) -> RolledProgram | None:
    """The program of a module that follows all sizes, its loops of fixed length rolled."""
    shared = share_states(trace)
    found = [
        _align_either([((), order)], align_with_repeats)
        for order in (shared, take_where_used(shared), fold_inner_loops(shared))
    ]
    best = min(found, key=_count_steps)
    return best if any(isinstance(item, Loop) for item in best.items) else None


def _align_any(traces: Sequence[tuple[Sizes, Trace]], align: _Align) -> RolledProgram:
    """As the steps stand, or with what is taken apart before a loop taken inside of it."""
    try:
        found = _align_either(traces, align)
        refuse_carried_numbers(found)
        return found
    except NotRollableError as error:
        moved = [(sizes, take_where_used(trace)) for sizes, trace in traces]
        try:
            found = _align_either(moved, align)
            refuse_carried_numbers(found)
            return found
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
    return sum(
        len(step.target.body) if isinstance(step.target, FoldedLoop) else 1
        for item in program.items
        for step in (item.body if isinstance(item, Loop) else (item,))
    )


def _trace_all(
    trace_at: Callable[[Mapping[str, int]], Trace],
    sizes: Sequence[Mapping[str, int]],
    fixed: Sequence[str],
) -> list[tuple[Sizes, Trace]]:
    return [(tuple(varied[axis] for axis in fixed), trace_at(varied)) for varied in sizes]


def _roll_opening(
    trace_once: Callable[[Mapping[str, int]], Trace],
    sizes: Mapping[str, int],
    fixed: Sequence[str],
    longest: int,
) -> RolledProgram | None:
    """A loop of which at most the first ``longest`` iterations differ from those behind them."""
    traced: list[tuple[Sizes, Trace]] = []
    for size in (*range(1, longest + 4), longest + 6):
        try:
            traced += _trace_all(trace_once, [{**sizes, fixed[0]: size}], fixed)
        except ExportError:
            if traced:
                return None  # forward() takes no size in between
    for change in (without_unused, _as_it_is):
        try:
            changed = [(at, change(trace)) for at, trace in traced]
            return align_opening(changed, longest)
        except NotRollableError:
            continue
    return None


def _roll_periodic(
    trace_once: Callable[[Mapping[str, int]], Trace],
    sizes: Mapping[str, int],
    fixed: Sequence[str],
) -> RolledProgram | None:
    """Loops over every k-th step, or whose iterations repeat after k."""
    periodic = [{**sizes, fixed[0]: size} for size in _PERIODIC_SIZES]
    traced = _trace_all(trace_once, periodic, fixed)
    traces = [(at, without_unused(trace)) for at, trace in traced]
    for period in _PERIODS:
        try:
            return align_phases(traces, period)
        except NotRollableError:
            pass
    for quotient in _quotients():
        extended = [((*at, quotient.of(at)), trace) for at, trace in traces]
        for chosen in (extended, _where_filled(extended, quotient)):
            try:
                return replace(align(chosen), quotients=(quotient,))
            except NotRollableError:
                pass
    return None


def _where_filled(
    traces: Sequence[tuple[Sizes, Trace]], quotient: Quotient
) -> list[tuple[Sizes, Trace]]:
    """Those whose last group is short: where it is not, taking the filling off again is no step."""
    return [(sizes, trace) for sizes, trace in traces if sizes[quotient.place] % quotient.divisor]


def _quotients() -> Iterator[Quotient]:
    """Whole groups of k steps, and groups of which the last one may be short."""
    for period in _PERIODS:
        yield Quotient(0, 0, period)
        yield Quotient(0, period - 1, period)
