"""A run of a rolled program, which torch.export can trace with every size symbolic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import UncapturedHigherOrderOpError
from torch._higher_order_ops.scan import scan_op
from torch.fx.experimental.symbolic_shapes import statically_known_true

from rnn_edge.capture.rolling.affine import Affine
from rnn_edge.capture.rolling.alignment import JOINING, NotRollableError
from rnn_edge.capture.rolling.body import Body, BodyBuilder, Buffer, Selected, find_buffers
from rnn_edge.capture.rolling.cells import Cell, read_cell
from rnn_edge.capture.rolling.curves import Curve
from rnn_edge.capture.rolling.endings import is_last
from rnn_edge.capture.rolling.mapping import run_at_once
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
    rebuild,
    replay,
    walk,
)
from rnn_edge.capture.rolling.scanning import (
    explain_carry,
    fit_to_carry,
    with_a_spare,
    with_idle_carry,
    with_idle_input,
    with_plain_memory,
    with_sizes_as_shapes,
    without_the_spare,
)
from rnn_edge.capture.rolling.trace import Source
from rnn_edge.capture.rolling.wanted import find_wanted

_ATEN = torch.ops.aten


@dataclass
class _Results:
    """What a loop left behind: its last values, and those of all iterations."""

    last: dict[tuple[int, int | None], Tensor] = field(default_factory=dict)
    collected: dict[tuple[int, int | None], Tensor] = field(default_factory=dict)


class Execution:
    def __init__(
        self,
        program: RolledProgram,
        sizes: Sequence[Any],
        smallest: Sequence[int],
        sources: dict[str, Any],
    ) -> None:
        self._program = program
        self._sizes = sizes
        self._smallest = smallest
        self._sources = sources
        self._plain: list[Any] = []
        self._loops = {item.number: item for item in program.items if isinstance(item, Loop)}
        self._results: dict[int, _Results] = {}
        self._wanted = find_wanted(program)

    def run(self) -> list[Tensor]:
        for item in self._program.items:
            if isinstance(item, RolledStep):
                self._plain.append(self._run_step(item))
            elif item.carries:
                self._results[item.number] = self._run_loop(item)
        returned: list[Tensor] = rebuild(self._program.returned, self._value)
        return returned

    def _run_step(self, step: RolledStep, iteration: Affine | None = None) -> Any:
        if step.target in JOINING and any(isinstance(v, Collected) for v in walk(step.args[0])):
            return self._join(step)
        args, kwargs = rebuild((step.args, step.kwargs), self._value)
        numbers_given = any(
            isinstance(leaf, Number) and leaf.is_given for leaf in walk((step.args, step.kwargs))
        )
        return replay(step.target, numbers_given)(*args, **kwargs)

    def _value(self, leaf: Any) -> Any:
        match leaf:
            case Number() if leaf.is_given:
                return self._number(leaf)
            case Number():
                return leaf.value.at(self._sizes)
            case Source():
                return self._sources[leaf.name]
            case PlainValue():
                value = self._plain[leaf.index]
                return value if leaf.item is None else value[leaf.item]
            case LoopValue():
                return self._iteration(leaf)
            case Collected():
                raise NotRollableError(
                    "what a loop has collected must be joined by torch.stack or torch.cat to be "
                    "exported, got another operator. Join it first."
                )
        return leaf

    def _iteration(self, value: LoopValue) -> Any:
        """One iteration's result, the last one's most often."""
        loop = self._loops[value.loop]
        what = (value.step, value.item)
        if value.otherwise is not None and what not in self._last_values(loop):
            return self._last_or(value.otherwise, loop, what)
        if not loop.carries:
            stacked = self._collect(loop, what, value.iteration, Affine(1, (0,) * len(self._sizes)))
            return stacked.select(0, 0)
        results = self._results[value.loop]
        if is_last(value, loop.count) and what in results.last:
            return results.last[what]
        if what not in results.collected:
            raise NotRollableError(
                "a tensor that a loop writes into must be read after the loop to be exported, "
                f"got one read before its end, written at {loop.body[value.step].line}. "
                "Collect the values in a list."
            )
        return results.collected[what].select(0, value.iteration.at(self._sizes))

    def _last_values(self, loop: Loop) -> Mapping[tuple[int, int | None], Tensor]:
        return self._results[loop.number].last if loop.carries else {}

    def _last_or(self, otherwise: Argument, loop: Loop, what: tuple[int, int | None]) -> Tensor:
        """The last iteration's result, or ``otherwise`` where there is no iteration."""
        if loop.carries:
            each = self._results[loop.number].collected[what]
        else:
            index = Affine(0, (0,) * len(self._sizes), 1)
            each = self._collect(loop, what, index, loop.count)
        before: Tensor = self._value(otherwise)
        every = torch.cat([before.unsqueeze(0), each])
        return every.select(0, loop.count.at(self._sizes))

    def _join(self, step: RolledStep) -> Tensor:
        """torch.stack or torch.cat of single tensors and of what loops have collected."""
        dim = step.args[1].value.constant if len(step.args) > 1 else 0
        stacking = step.target is _ATEN.stack.default
        pieces = []
        for leaf in step.args[0]:
            if not isinstance(leaf, Collected):
                tensor = self._value(leaf)
                pieces.append(tensor.unsqueeze(dim) if stacking else tensor)
                continue
            stretch = self._stretch(leaf)
            rank = stretch.dim() if stacking else stretch.dim() - 1
            moved = stretch.movedim(0, dim % rank)
            pieces.append(moved if stacking else moved.flatten(dim % rank, dim % rank + 1))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim)

    def _stretch(self, value: Collected) -> Tensor:
        """[count, ...]: the results of neighbouring iterations, upwards or downwards."""
        index = Affine(value.first.constant, value.first.by_size, value.direction)
        return self._each(LoopValue(value.loop, value.step, value.item, index), value.count)

    def _each(self, value: Any, count: Affine) -> Tensor:
        """[count, ...]: an argument of a loop's body in every iteration."""
        if not isinstance(value, LoopValue) or not value.iteration.by_iteration:
            same: Tensor = self._value(value)
            return same.unsqueeze(0).expand(count.at(self._sizes), *same.shape)
        loop, what = self._loops[value.loop], (value.step, value.item)
        if not loop.carries:
            return self._collect(loop, what, value.iteration, count)
        return self._take(self._results[value.loop].collected[what], 0, value.iteration, count)

    def _run_loop(self, loop: Loop) -> _Results:
        cell = read_cell(loop)
        if cell is not None and self._value(cell.weights[0]).dtype == torch.float32:
            return self._run_cell(cell, loop.count)
        used = self._wanted[loop.number]
        buffers = find_buffers(loop, used)
        wanted = [what for what in used if what[0] not in buffers]
        wanted += [(buffer.source.step, buffer.source.item) for buffer in buffers.values()
                   if isinstance(buffer.source, OwnValue)]  # fmt: skip
        results = _Results()
        if wanted:
            builder = BodyBuilder(loop, self._loops, len(self._sizes))
            body = builder.build(list(dict.fromkeys(wanted)))
            results = self._scan(loop, body, loop.count)
        for number, buffer in buffers.items():
            if isinstance(buffer.source, OwnValue):
                stacked = results.collected[buffer.source.step, buffer.source.item]
            else:
                stacked = self._each(buffer.source, loop.count)
            results.last[number, None] = self._write(buffer, stacked, loop.count)
        return results

    def _run_cell(self, cell: Cell, count: Affine) -> _Results:
        x = self._each(cell.x, count)
        length, may_be_empty = count.at(self._sizes), self._may_be_empty(count)
        initial = [self._value(value) for value in cell.initial]
        y, last = cell.run(
            with_a_spare(x, length) if may_be_empty else x,
            initial,
            [self._value(weight) for weight in cell.weights],
        )
        if may_be_empty:
            *last, y = without_the_spare([*last, y], initial, length)
        if len(last) == 1:
            return _Results({(0, None): last[0]}, {(0, None): y})
        return _Results({(0, item): state for item, state in enumerate(last)}, {(0, 0): y})

    def _may_be_empty(self, count: Affine) -> bool:
        return bool(count.at(self._smallest) < 1)

    def _collect(
        self, loop: Loop, what: tuple[int, int | None], index: Affine, count: Affine
    ) -> Tensor:
        """A loop whose iterations need nothing of each other, over ``index`` of 0 .. count - 1."""
        step = loop.body[what[0]]
        if (
            step.target is _ATEN.select.int
            and what[1] is None
            and isinstance(step.args[0], (Source, PlainValue))
        ):
            x = self._value(step.args[0])
            moving = step.args[2].value.substitute(index)
            if moving.by_iteration:
                return self._take(x, step.args[1].value.constant, moving, count)
        builder = BodyBuilder(loop, self._loops, len(self._sizes), index)
        body = builder.build([what])
        assert body.module is not None
        mapped = run_at_once(
            body.module,
            [self._scanned(given, count) for given in body.scanned],
            [self._value(given) for given in body.invariants],
            count.at(self._sizes),
        )
        return self._scan(loop, body, count).collected[what] if mapped is None else mapped

    def _scan(self, loop: Loop, body: Body, count: Affine) -> _Results:
        assert body.module is not None
        length = count.at(self._sizes)
        # Cloned, because a scan refuses one tensor for two carries.
        initial = [
            _as_carried(self._value(value), loop.body[carry.step].line)
            for carry in body.carries
            for value in carry.initial
        ]
        scanned = [self._scanned(what, count) for what in body.scanned]
        module: Any = body.module
        device = next((tensor.device for tensor in (*initial, *scanned)), None)
        if not scanned:
            scanned = [torch.arange(length, device=device)]
            module = with_idle_input(module, len(initial))
        carried = initial
        if not initial:
            carried = [torch.zeros((), device=device)]
            module = with_idle_carry(module)
        may_be_empty = self._may_be_empty(count)
        if may_be_empty:
            scanned = [with_a_spare(tensor, length) for tensor in scanned]
        # Cloned as well: two parts of one tensor share what they are stored in.
        invariants = [self._value(what) for what in body.invariants]
        invariants = [
            value.clone() if isinstance(what, PlainValue) and isinstance(value, Tensor) else value
            for what, value in zip(body.invariants, invariants, strict=True)
        ]
        module, invariants = with_sizes_as_shapes(module, len(carried) + len(scanned), invariants)
        carried = fit_to_carry(carried, module, [tensor[0] for tensor in scanned], invariants)
        module = with_plain_memory(module, len(carried))
        try:
            outputs = list(scan_op(module, carried, scanned, tuple(invariants)))
        except UncapturedHigherOrderOpError as error:
            lines = [loop.body[carry.step].line for carry in body.carries for _ in carry.initial]
            following = module(*carried, *(tensor[0] for tensor in scanned), *invariants)
            raise explain_carry(carried, following, lines) from error
        if may_be_empty:
            outputs = without_the_spare(outputs, carried, length)
        results = _Results()
        place = 0
        for carry in body.carries:
            results.last[carry.step, carry.item] = outputs[place]
            place += len(carry.initial)
        for what, tensor in zip(body.collected, outputs[len(carried) :], strict=True):
            results.collected[what] = tensor
        return results

    def _scanned(self, what: Selected | LoopValue | Number, count: Affine) -> Tensor:
        if isinstance(what, Number):
            return self._numbers(what, count)
        if isinstance(what, Selected):
            return self._take(self._value(what.x), what.dim, what.index, count)
        return self._each(what, count)

    def _numbers(self, what: Number, count: Affine) -> Tensor:
        """[count]: what a number is in each iteration."""
        dtype = torch.int64 if what.whole else torch.float64
        return self._number(what, torch.arange(count.at(self._sizes)).to(dtype))

    def _number(self, what: Number, iteration: Any = 0) -> Tensor:
        """A number as a tensor, at ``iteration``: one of them, or a tensor of several."""
        dtype = torch.int64 if what.whole else torch.float64
        sizes = [torch.scalar_tensor(size, dtype=dtype) for size in self._sizes]
        number: Tensor = what.value.at(sizes, iteration)
        return number

    def _take(self, x: Tensor, dim: int, index: Affine | Curve, count: Affine) -> Tensor:
        """[count, ...]: the slices of ``x`` at ``index`` along ``dim``."""
        length = count.at(self._sizes)
        dim = dim % x.dim()
        factor = index.by_iteration
        if factor not in (1, -1):
            places = index.at(self._sizes, torch.arange(length, device=x.device))
            return x.index_select(dim, places).movedim(dim, 0)
        ends = (index.at(self._sizes, 0), index.at(self._sizes, length - 1))
        start = ends[0] if factor == 1 else ends[1]
        if start_is_negative(start):
            start = start + x.shape[dim]
        if not (
            statically_known_true(start == 0) and statically_known_true(length == x.shape[dim])
        ):
            x = x.narrow(dim, start, length)
        x = x.movedim(dim, 0)
        return x if factor == 1 else x.flip(0)

    def _write(self, buffer: Buffer, stacked: Tensor, count: Affine) -> Tensor:
        """What is left in a buffer after all iterations have written into it."""
        initial: Tensor = self._value(buffer.initial)
        dim = buffer.dim % initial.dim()
        if buffer.index is None:
            ordered = stacked if buffer.at_end else stacked.flip(0)
            grown = ordered.movedim(0, dim).flatten(dim, dim + 1)
            return torch.cat([initial, grown] if buffer.at_end else [grown, initial], dim)
        length = count.at(self._sizes)
        factor = buffer.index.by_iteration
        if factor in (1, -1) and statically_known_true(length == initial.shape[dim]):
            return (stacked if factor == 1 else stacked.flip(0)).movedim(0, dim)
        places = buffer.index.at(self._sizes, torch.arange(length, device=stacked.device))
        return initial.index_copy(dim, places, stacked.movedim(0, dim))


def _as_carried(value: Any, line: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise NotRollableError(
            "what goes from iteration to iteration of a loop must be a tensor to be exported, "
            f"got a size at {line}. Compute it from a tensor, torch.arange(x.shape[0]) say."
        )
    return value.clone(memory_format=torch.contiguous_format)


def start_is_negative(start: Any) -> bool:
    """x[-1 - t] counts from the end."""
    return isinstance(start, int) and start < 0
