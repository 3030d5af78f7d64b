"""Where every value lies while a step runs: parameters, states, and reused working memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnn_edge.c99.program import Program, Value
from rnn_edge.errors import IntegrationError

C_TYPES = {
    "float32": "float", "float64": "double", "bool": "bool",
    "int64": "int64_t", "int32": "int32_t", "int16": "int16_t", "uint8": "uint8_t",
    "int8": "int8_t",
}  # fmt: skip

# Values start at multiples of this many elements, so that vectors of the machine fit.
_GRAIN = 16


def c_type(dtype: np.dtype) -> str:
    """Raises IntegrationError for a type that C99 has no arithmetic for."""
    name = np.dtype(dtype).name
    if name not in C_TYPES:
        raise IntegrationError(
            f"dtype must be one of {', '.join(C_TYPES)} to be written as C99, got {name}. "
            "Export the model in float32."
        )
    return C_TYPES[name]


class Memory:
    """``held`` are the C expressions of values whose memory is the caller's or a state."""

    def __init__(self, program: Program, held: Mapping[Value, str]) -> None:
        self._places = dict(held)
        #: Elements of working memory by C type.
        self.sizes: dict[str, int] = {}
        #: Elements that one operation uses for itself, by C type, and how many so far.
        self.scratch_sizes: dict[str, int] = {}
        self._scratch_used: dict[str, int] = {}
        self._place(program)

    def expression(self, value: Value) -> str:
        return self._places[value.root]

    def begin_operation(self) -> None:
        self._scratch_used = {}

    def scratch(self, kind: str, size: int) -> str:
        """Memory that is this operation's until its end."""
        start = self._scratch_used.get(kind, 0)
        end = start + _rounded(size)
        self._scratch_used[kind] = end
        self.scratch_sizes[kind] = max(self.scratch_sizes.get(kind, 0), end)
        return f"(s->scratch_{kind} + {start})" if start else f"s->scratch_{kind}"

    def shared(self, kind: str, size: int) -> str:
        """Memory that every call of a kernel may overwrite."""
        self.scratch_sizes[kind] = max(self.scratch_sizes.get(kind, 0), _rounded(size))
        return f"s->scratch_{kind}"

    def _place(self, program: Program) -> None:
        last: dict[Value, int] = {}
        for number, operation in enumerate(program.operations):
            for value in (*operation.inputs, *operation.outputs):
                if value is not None:
                    last[value.root] = number
        for value in program.outputs:
            last[value.root] = len(program.operations)
        free: dict[str, list[tuple[int, int]]] = {}
        living: list[tuple[Value, str, int, int]] = []
        for number, operation in enumerate(program.operations):
            for value in operation.outputs:
                if value is None or value in self._places or not value.size:
                    continue
                kind, size = c_type(value.dtype), _rounded(value.size)
                start = self._take(free.setdefault(kind, []), kind, size)
                base = f"s->work_{kind}"
                self._places[value] = f"({base} + {start})" if start else base
                living.append((value, kind, start, size))
            for entry in [entry for entry in living if last.get(entry[0], number) <= number]:
                living.remove(entry)
                free[entry[1]] = _merged([*free[entry[1]], (entry[2], entry[3])])

    def _take(self, free: list[tuple[int, int]], kind: str, size: int) -> int:
        for place, (start, room) in enumerate(free):
            if room >= size:
                free[place : place + 1] = [(start + size, room - size)] if room > size else []
                return start
        start = self.sizes.get(kind, 0)
        self.sizes[kind] = start + size
        return start


def _rounded(size: int) -> int:
    return -(-size // _GRAIN) * _GRAIN


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, size in sorted(spans):
        if merged and sum(merged[-1]) == start:
            merged[-1] = (merged[-1][0], merged[-1][1] + size)
        else:
            merged.append((start, size))
    return merged
