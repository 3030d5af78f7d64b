"""The lines of one step as they are written, with the tables and kernels that they use."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from rnn_edge.c99.loops import Access, broadcast, loop, row_major
from rnn_edge.c99.lowering import refuse
from rnn_edge.c99.memory import Memory, c_type
from rnn_edge.c99.program import Operation, Value
from rnn_edge.c99.tables import Tables, literal, packed, quantised, tiles_of_bytes

# Weights fewer than these cost more as int8, in code and time, than they save.
_FEWEST_INT8 = 128
# So that the upper byte of two, the lower one being signed, fits eight bits too.
_MOST_INT16 = 127 * 256 + 127
_MOST_INT32 = 2**31 - 1


class ProductLine(str):
    """A line that calls a product with packed weights, and what it is called with."""

    target: str
    vector: str
    rest: str
    weights: int

    @classmethod
    def of(
        cls, kernel: str, target: str, vector: str, table: str, shape: tuple[int, int]
    ) -> ProductLine:
        outputs, inputs = shape
        rest = f"{table}, {outputs}, {inputs}"
        line = cls(f"{kernel}({target}, {vector}, {rest});")
        line.target, line.vector, line.rest, line.weights = target, vector, rest, outputs * inputs
        return line


class Code:
    """What operators write into; ``prefix`` starts every name of the model.

    With ``int8``, weights are bytes; with ``tiled``, in the order in which AVX512-VNNI reads them.
    """

    def __init__(self, prefix: str, memory: Memory, int8: bool, tiled: bool = False) -> None:
        self.prefix = prefix
        self.memory = memory
        self.int8 = int8
        self.tiled = tiled
        self.tables = Tables(prefix)
        self.kernels: set[tuple[str, ...]] = set()
        self.lines: list[str] = []
        self.macs = 0

    def begin(self, memory: Memory) -> None:
        """Go on with the values of another program, whose steps are others'."""
        self.memory = memory

    def put(self, *lines: str) -> None:
        self.lines += lines

    def kernel(self, *key: str) -> None:
        """Have a function among the kernels: its kind, then what the kind varies by."""
        self.kernels.add(key)

    def array(self, value: Value) -> str:
        """The C expression of a tensor's first element's address."""
        if value.constant is not None:
            return self.tables.add(value.constant)
        return self.memory.expression(value)

    def element(self, value: Value) -> Callable[[str], str]:
        """A function from an index to the C expression of that element."""
        if value.constant is not None and value.size == 1:
            text = literal(value.constant.reshape(-1)[0].item(), value.dtype)
            text = f"({text})" if text.startswith("-") else text
            return lambda index: text
        name = self.array(value)
        return lambda index: f"{name}[{index}]"

    def pointwise(
        self, output: Value, inputs: Sequence[Value], expression: Callable[[list[str]], str]
    ) -> None:
        """One loop over ``output``; the inputs broadcast to it."""
        read = [self.element(value) for value in inputs]
        target = self.array(output)
        accesses = [Access(row_major(output.shape))]
        accesses += [broadcast(value.shape, output.shape) for value in inputs]

        def body(indexes: list[str]) -> list[str]:
            operands = [one(index) for one, index in zip(read, indexes[1:], strict=True)]
            return [f"{target}[{indexes[0]}] = {expression(operands)};"]

        self.put(*loop(output.shape, accesses, body))

    def copy(
        self, shape: Sequence[int], output: Value, to: Access, source: Value, of: Access
    ) -> None:
        """Elements of ``source`` to ``output``, both walked as told."""
        if math.prod(shape) == 0:
            return
        read, target = self.element(source), self.array(output)
        self.put(*loop(shape, [to, of], lambda at: [f"{target}[{at[0]}] = {read(at[1])};"]))

    def copy_all(self, target: str, source: str, size: int, dtype: np.dtype) -> None:
        if size:
            self.put(f"memcpy({target}, {source}, {size} * sizeof({c_type(dtype)}));")

    def fill(self, target: str, values: np.ndarray) -> None:
        """Known numbers into working memory."""
        if not values.any():
            # An array itself would have gcc suspect that its elements were meant.
            place = target if target.startswith("(") else f"&{target}[0]"
            self.put(f"memset({place}, 0, {values.size} * sizeof({c_type(values.dtype)}));")
        else:
            self.copy_all(target, self.tables.add(values), values.size, values.dtype)

    def product(self, target: str, vector: str, weight: np.ndarray) -> None:
        """``target`` += weight[outputs, inputs] times ``vector``."""
        outputs, inputs = weight.shape
        self.macs += outputs * inputs
        if not weight.size:
            return
        kind = c_type(weight.dtype)
        if self.int8 and kind == "float" and weight.size >= _FEWEST_INT8:
            self._put_int8(target, vector, *quantised(weight))
            return
        self.kernel("product", kind)
        table, kernel = self.tables.add(packed(weight)), f"{self.prefix}_product_{kind}"
        if kind == "float":
            self.put(ProductLine.of(kernel, target, vector, table, (outputs, inputs)))
        else:
            self.put(f"{kernel}({target}, {vector}, {table}, {outputs}, {inputs});")

    def _put_int8(self, target: str, vector: str, rows: np.ndarray, scale: np.ndarray) -> None:
        outputs, inputs = rows.shape
        most = min(_MOST_INT16, _MOST_INT32 // (127 * inputs))
        tables = [rows, scale]
        if self.tiled:
            tables = tiles_of_bytes(rows, scale)
        # In tiles, inputs come four by four.
        scratch = self.memory.shared("int16_t", -(-inputs // 4) * 4 if self.tiled else inputs)
        self.kernel("product_int8")
        told = [*map(self.tables.add, tables), scratch, literal(most, np.dtype("float32"))]
        self.put(
            f"{self.prefix}_product_int8({target}, {vector}, {', '.join(told)}, "
            f"{outputs}, {inputs});"
        )

    def refuse(self, operation: Operation, what: str) -> Exception:
        return refuse(operation.kind, operation.name, what)

    def known(self, operation: Operation, place: int) -> np.ndarray | None:
        """An input whose content must be known; None where it is absent."""
        value = operation.input(place)
        if value is None:
            return None
        if value.constant is None:
            raise self.refuse(operation, f"its input {value.name} is not constant")
        return value.constant
