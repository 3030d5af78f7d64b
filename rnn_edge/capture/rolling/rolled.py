"""A rolled program as a module, which torch.export can trace again with every size symbolic."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rnn_edge.capture.rolling.cells import split_off_cells
from rnn_edge.capture.rolling.execution import Execution
from rnn_edge.capture.rolling.invariants import take_out
from rnn_edge.capture.rolling.program import (
    RolledProgram,
)
from rnn_edge.capture.rolling.written import Example, recognise_cells


class RolledForward(nn.Module):
    """Runs a rolled program; ``sized`` says which axis of which input gives each size.

    ``traced`` is the module that was traced: it holds the parameters under their names.
    ``inputs`` are examples, by which cells are recognised.
    """

    def __init__(
        self,
        program: RolledProgram,
        traced: nn.Module,
        sized: Sequence[tuple[int, int]],
        inputs: Sequence[Tensor],
    ) -> None:
        super().__init__()
        self.module = traced.module
        self._quotients = program.quotients
        sizes = self._with_quotients([inputs[place].shape[dim] for place, dim in sized])
        example = Example(inputs, sizes, lambda name: operator.attrgetter(name)(self))
        self._program = take_out(split_off_cells(recognise_cells(program, example)))
        self._sized = sized
        for name, what in self._program.sources.items():
            if isinstance(what, Tensor):
                self.register_buffer(name, what)

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        sizes = self._with_quotients([tensors[place].shape[dim] for place, dim in self._sized])
        sources = {name: self._source(name, tensors) for name in self._program.sources}
        smallest = self._with_quotients([1] * len(self._sized))
        execution = Execution(self._program, sizes, smallest, sources)
        return list(execution.run())

    def _with_quotients(self, sizes: list[Any]) -> list[Any]:
        return [*sizes, *(quotient.of(sizes) for quotient in self._quotients)]

    def _source(self, name: str, tensors: Sequence[Tensor]) -> Any:
        what = self._program.sources[name]
        if isinstance(what, int):
            return tensors[what]
        return operator.attrgetter(what if isinstance(what, str) else name)(self)
