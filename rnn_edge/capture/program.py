"""A module as an exported program with symbolic axes, recurrent layers whole."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils._sympy.functions import (
    CeilToInt,
    FloorDiv,
    FloorToInt,
    IntTrueDiv,
    Mod,
    RoundToInt,
    TruncToInt,
)

from rnn_edge.capture.arguments import Arguments, resize
from rnn_edge.capture.choices import Choice, find_choices, trace_sides
from rnn_edge.capture.fixing import FixedAxesError
from rnn_edge.capture.interception import skipping_size_checks
from rnn_edge.capture.joining import join
from rnn_edge.capture.relations import holds
from rnn_edge.capture.rolling.attempts import choose_sizes, roll, roll_repeats
from rnn_edge.capture.rolling.endings import add_endings
from rnn_edge.capture.rolling.repeats import count_nodes, may_repeat
from rnn_edge.capture.rolling.rolled import RolledForward
from rnn_edge.capture.rolling.steps import read_trace
from rnn_edge.capture.rolling.trace import Source, Step, Trace
from rnn_edge.capture.tracing import FlatForward, export_at
from rnn_edge.code_line import CodeLine
from rnn_edge.errors import ExportError

# The sizes at which axes are traced: above usual kernels and slices, which would fix them, and all
# different, so that no two axes are taken for one.
_TRACED_SIZES = (7, 13, 19, 29, 37, 41, 43, 47)
_SMALL_SIZES = (4, 3, 5, 6, 2, 8, 9, 10)
_LARGE_SIZES = (61, 67, 71, 73, 79, 83, 89, 97)
# What holds at one of these as well does not fix a size to what it was traced at.
_FAR_SIZES = range(120, 132)
_ROUNDED = (FloorDiv, IntTrueDiv, CeilToInt, FloorToInt, RoundToInt, TruncToInt)


@dataclass(frozen=True)
class Program:
    """``symbols`` maps the exported program's symbols, as ``s77``, to the names of axes.

    ``written_out`` is the same with loops of fixed length step by step, where they were rolled.
    ``at_one`` are branches by whether a size is 1, of which it goes the way of larger ones.
    """

    exported: ExportedProgram
    arguments: Arguments
    output_names: tuple[str, ...]
    symbols: Mapping[str, str]
    written_out: Program | None = None
    choices: tuple[Choice, ...] = ()
    at_one: tuple[CodeLine, ...] = ()


def trace(
    module: nn.Module,
    arguments: Arguments,
    *,
    joins_at_one: bool = False,
    near: Mapping[str, int] | None = None,
) -> Program:
    """Export ``module`` with every named axis symbolic.

    The sizes at which it is traced are small, or on the side of those ``near`` that are given. A
    module that does not take them, as one whose windows are wider, is traced at sizes beyond those
    of its example. Where forward() turns a size into a number, to loop over it most often, it is
    traced at several sizes, and what follows them is put back. A branch by whether a size is 1 is
    followed for larger ones, or where it ``joins_at_one`` as a branch on a value. Raises
    ExportError when torch.export refuses the module, or when the traces do not show how it follows
    a size.
    """
    sizes = _move_near(_traced_sizes(arguments), near or {}, _example_sizes(arguments))
    try:
        return _trace(module, arguments, sizes, joins_at_one)
    except ExportError:
        if _takes(module, arguments, sizes):
            raise
    beyond = {axis: size + _example_sizes(arguments)[axis] for axis, size in sizes.items()}
    return _trace(module, arguments, beyond, joins_at_one)


def _trace(
    module: nn.Module, arguments: Arguments, sizes: dict[str, int], joins_at_one: bool
) -> Program:
    output_names: list[str] = []
    flat = FlatForward(
        module, arguments, lambda names: _set(output_names, names), joins_at_one=joins_at_one
    )
    choices: list[Choice] = []
    with skipping_size_checks(module):
        exported, fixed = _export_until_fixed(flat, arguments, sizes)
        candidates: list[RolledForward] = []
        if fixed:
            *candidates, safest = _roll(flat, arguments, sizes, fixed, exported)
            exported = export_at(safest, arguments, sizes, set(sizes))
        else:
            choices = find_choices(exported, _match_symbols(exported, arguments))
            joined = _join_sides(exported, flat, arguments, sizes, set(sizes))
            if joined is not None:
                exported = joined
            elif may_repeat(exported):
                candidates = _roll_repeats(flat, arguments, sizes)
        symbols = _name_symbols(exported, arguments)
        names = tuple(output_names)
        program = Program(
            exported,
            arguments,
            names,
            symbols,
            choices=tuple(choices),
            at_one=(*flat.at_one.lines,),
        )
        for candidate in candidates:
            smaller = _export_smaller(candidate, program, sizes)
            if smaller is not None:
                return smaller
    return program


def _export_until_fixed(
    flat: FlatForward, arguments: Arguments, sizes: Mapping[str, int]
) -> tuple[ExportedProgram, list[str]]:
    """``flat``, and the axes that forward() turns into numbers.

    Where there are any, they have the sizes of choose_sizes(), and all that is computed is kept.
    """
    fixed: list[str] = []
    flat.stops = True
    try:
        while True:
            dynamic = set(sizes) - set(fixed)
            flat.keeps = bool(fixed)
            try:
                exported = export_at(flat, arguments, choose_sizes(sizes, fixed), dynamic)
                found = find_fixed_axes(exported, arguments, dynamic)
            except FixedAxesError as error:
                found = list(error.axes)
            if not found:
                return exported, fixed
            fixed = [axis for axis in sizes if axis in fixed or axis in found]
    finally:
        flat.stops = flat.keeps = False


def trace_at_example(module: nn.Module, arguments: Arguments) -> ExportedProgram:
    """Export ``module`` with every axis fixed to the size that its example has."""
    flat = FlatForward(module, arguments, lambda _: None)
    with skipping_size_checks(module):
        return export_at(flat, arguments, _example_sizes(arguments), ())


def _example_sizes(arguments: Arguments) -> dict[str, int]:
    return {
        axis: argument.example.shape[dim]
        for argument in arguments.tensors
        for dim, axis in enumerate(argument.axes)
        if axis is not None
    }


def _takes(module: nn.Module, arguments: Arguments, sizes: Mapping[str, int]) -> bool:
    """Whether forward() itself runs at ``sizes``."""
    examples = tuple(resize(argument, sizes).clone() for argument in arguments.tensors)
    try:
        with torch.no_grad():
            FlatForward(module, arguments, lambda _: None)(*examples)
    except Exception:  # noqa: BLE001 (forward() is the user's: it may raise anything)
        return False
    return True


def _set(names: list[str], found: Iterable[str]) -> None:
    names[:] = found


def _join_sides(
    exported: ExportedProgram,
    flat: FlatForward,
    arguments: Arguments,
    sizes: Mapping[str, int],
    dynamic: Collection[str],
) -> ExportedProgram | None:
    """``flat``, ``exported`` at ``sizes``, with both ways where it took one of two by a size."""

    def trace_at(at: Mapping[str, int]) -> ExportedProgram:
        return exported if at == sizes else export_at(flat, arguments, at, dynamic)

    def find(program: ExportedProgram) -> list[Choice]:
        return find_choices(program, _match_symbols(program, arguments))

    sides = trace_sides(trace_at, find, sizes) if find(exported) else None
    joined = join(sides, flat) if sides is not None else None
    return None if joined is None else export_at(joined, arguments, sizes, dynamic)


def _match_symbols(exported: ExportedProgram, arguments: Arguments) -> dict[str, str]:
    """The axes of symbols, those that tracing has fixed left out."""
    return {
        str(size): axis
        for _, axis, size in _axis_sizes(exported, arguments)
        if not str(size).isdecimal()
    }


def _roll(
    flat: FlatForward,
    arguments: Arguments,
    sizes: dict[str, int],
    fixed: Sequence[str],
    first: ExportedProgram,
) -> list[RolledForward]:
    """``flat`` as modules that follow the sizes of the axes ``fixed``, the last one the safest.

    ``first`` is its trace at choose_sizes().
    """
    others = set(sizes) - set(fixed)
    known = choose_sizes(sizes, fixed)

    def trace_at(at: Mapping[str, int]) -> Trace:
        exported = first if at == known else export_at(flat, arguments, at, others)
        joined = _join_sides(exported, flat, arguments, at, others)
        return read_sizes_once(read_trace(exported if joined is None else joined), arguments)

    with _keeping(flat):
        programs = add_endings(roll(trace_at, sizes, fixed), trace_at, sizes, fixed)
    places = [
        next(
            (place, argument.axes.index(axis))
            for place, argument in enumerate(arguments.tensors)
            if axis in argument.axes
        )
        for axis in fixed
    ]
    examples = [resize(argument, sizes) for argument in arguments.tensors]
    return [RolledForward(program, flat, places, examples) for program in programs]


def read_sizes_once(trace: Trace, arguments: Arguments) -> Trace:
    """The same steps, which read the size of an axis from the first argument that has it.

    Which one torch reads it from depends on what it has found to be equal, at some sizes more.
    """
    names = {place: name for name, place in trace.sources.items() if isinstance(place, int)}
    first: dict[str, tuple[Source, int]] = {}
    for place, argument in enumerate(arguments.tensors):
        for dim, axis in enumerate(argument.axes):
            if axis is not None and place in names:
                first.setdefault(axis, (Source(names[place]), dim))

    def read_first(step: Step) -> Step:
        x, *dims = step.args
        place = trace.sources[x.name] if isinstance(x, Source) else None
        if step.target is not torch.ops.aten.sym_size.int or not isinstance(place, int):
            return step
        axis = arguments.tensors[place].axes[dims[0]]
        return step if axis is None else replace(step, args=first[axis])

    return replace(trace, steps=tuple(read_first(step) if step.args else step
                                      for step in trace.steps))  # fmt: skip


def _roll_repeats(
    flat: FlatForward, arguments: Arguments, sizes: dict[str, int]
) -> list[RolledForward]:
    """``flat`` with its loops of fixed length rolled, where it has any."""
    with _keeping(flat):
        program = roll_repeats(read_trace(export_at(flat, arguments, sizes, set(sizes))))
    examples = [resize(argument, sizes) for argument in arguments.tensors]
    return [RolledForward(program, flat, (), examples)] if program else []


@contextmanager
def _keeping(flat: FlatForward) -> Iterator[None]:
    flat.keeps = True
    try:
        yield
    finally:
        flat.keeps = False


def _export_smaller(
    candidate: RolledForward, written_out: Program, sizes: Mapping[str, int]
) -> Program | None:
    """``candidate`` where it has fewer operators than ``written_out``."""
    arguments = written_out.arguments
    try:
        exported = export_at(candidate, arguments, sizes, set(sizes))
        symbols = _name_symbols(exported, arguments)
    except ExportError:
        # The loop stays written out: its number of iterations is known.
        return None
    if count_nodes(exported) >= count_nodes(written_out.exported):
        return None
    return replace(written_out, exported=exported, symbols=symbols, written_out=written_out)


def find_fixed_axes(
    exported: ExportedProgram, arguments: Arguments, dynamic: Collection[str]
) -> list[str]:
    """Those of the axes ``dynamic`` that tracing has set to a number."""
    sizes = _axis_sizes(exported, arguments)
    fixed = {axis: None for _, axis, size in sizes if axis in dynamic and _is_fixed(size)}
    return list(fixed)


def _is_fixed(size: int | torch.SymInt) -> bool:
    """Whether ``size`` is a number, a symbol that was set to one, or rounds to one.

    range(x.shape[1] // 2) fixes half of a size, and leaves two numbers for all of it; so does
    int(x.shape[1] / 2), and np.arange(x.shape[1]) by a fraction.
    """
    if isinstance(size, int) or str(size).isdecimal():
        return True
    symbols = size.node.expr.free_symbols
    guards = [guard.expr for guard in size.node.shape_env.guards]
    return any(
        guard.rel_op == "==" and guard.rhs.is_number and guard.lhs.free_symbols == symbols
        and guard.lhs.has(*_ROUNDED) and not guard.lhs.has(Mod)
        and not any(holds(guard, dict.fromkeys(symbols, far)) for far in _FAR_SIZES)
        for guard in guards if guard.is_Relational
    )  # fmt: skip


def _axis_sizes(
    exported: ExportedProgram, arguments: Arguments
) -> Iterator[tuple[str, str, int | torch.SymInt]]:
    """(argument, axis, size) of every named axis."""
    placeholders = {node.name: node for node in exported.graph.nodes if node.op == "placeholder"}
    for argument, name in zip(arguments.tensors, exported.graph_signature.user_inputs, strict=True):
        shape = placeholders[str(name)].meta["val"].shape
        for size, axis in zip(shape, argument.axes, strict=True):
            if axis is not None:
                yield argument.name, axis, size


def _traced_sizes(arguments: Arguments) -> dict[str, int]:
    axes = dict.fromkeys(
        axis for argument in arguments.tensors for axis in argument.axes if axis is not None
    )
    if len(axes) > len(_TRACED_SIZES):
        raise ExportError(
            f"a module must have at most {len(_TRACED_SIZES)} named axes, got {len(axes)}. "
            "Fix some of them with None."
        )
    return dict(zip(axes, _TRACED_SIZES, strict=False))


def _move_near(
    sizes: Mapping[str, int], near: Mapping[str, int], examples: Mapping[str, int]
) -> dict[str, int]:
    """``sizes``, smaller and larger ones for the axes that are smaller and larger in ``near``.

    Where many steps make a frame, few are one frame, which broadcasts: what is as large as a long
    example is followed beyond it.
    """
    moved = dict(sizes)
    for axis, small, large in zip(sizes, _SMALL_SIZES, _LARGE_SIZES, strict=False):
        wanted = near.get(axis, sizes[axis])
        if wanted != sizes[axis]:
            moved[axis] = small if wanted < sizes[axis] else large
        if wanted >= examples[axis] > large:
            moved[axis] += wanted
    return moved


def _name_symbols(exported: ExportedProgram, arguments: Arguments) -> dict[str, str]:
    symbols: dict[str, str] = {}
    for argument, axis, size in _axis_sizes(exported, arguments):
        if str(size).isdecimal():
            raise ExportError(
                f"axis {axis!r} of {argument!r} must stay dynamic, forward() fixes it to "
                f"{size}. Remove what depends on that size, or declare the axis None."
            )
        taken = symbols.setdefault(str(size), axis)
        if taken != axis:
            raise ExportError(
                f"axes {taken!r} and {axis!r} must be independent, forward() makes them equal "
                f"(in {argument!r}). Give both the same name."
            )
    return symbols
