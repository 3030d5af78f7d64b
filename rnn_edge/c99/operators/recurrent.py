"""RNN, LSTM and GRU as ONNX has them, each step two products and a loop over the gates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnn_edge.c99.code import Code
from rnn_edge.c99.loops import row_major
from rnn_edge.c99.memory import c_type
from rnn_edge.c99.program import Operation

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
_ACTIVATIONS = {"Sigmoid", "Tanh", "Relu"}


def _write_layer(code: Code, operation: Operation) -> None:
    layer = _Layer(code, operation)
    for direction in range(layer.directions):
        layer.put_direction(direction)


class _Layer:
    """X[time, batch, in], W[directions, gates * hidden, in], R and B -> Y, Y_h and Y_c."""

    def __init__(self, code: Code, operation: Operation) -> None:
        self.code, self.operation, self.kind = code, operation, operation.kind
        self.x = operation.required(0)
        weight, recurrent = code.known(operation, 1), code.known(operation, 2)
        assert weight is not None
        assert recurrent is not None
        self.weight, self.recurrent = weight, recurrent
        self.directions, self.hidden = recurrent.shape[0], recurrent.shape[2]
        if operation.attributes.get("layout", 0):
            raise code.refuse(operation, "its layout is 1")
        self.time, self.batch, self.width = self.x.shape
        self.type = c_type(self.x.dtype)
        bias = code.known(operation, 3)
        gates = _GATES[self.kind] * self.hidden
        self.bias = np.zeros((self.directions, 2 * gates), weight.dtype) if bias is None else bias
        self.peepholes = code.known(operation, 7) if self.kind == "LSTM" else None
        self._memory: dict[int, str] = {}
        self._refuse_odd_attributes()

    def _refuse_odd_attributes(self) -> None:
        code, attributes = self.code, self.operation.attributes
        if "clip" in attributes:
            raise code.refuse(self.operation, "it clips its gates")
        if attributes.get("input_forget", 0):
            raise code.refuse(self.operation, "its input gate is tied to its forget gate")
        if "activation_alpha" in attributes or "activation_beta" in attributes:
            raise code.refuse(self.operation, "its activations have parameters")
        lengths = code.known(self.operation, 4)
        if lengths is not None and not (lengths == self.time).all():
            raise code.refuse(self.operation, "its rows have lengths of their own")

    def activations(self, direction: int) -> list[str]:
        default = _DEFAULTS[self.kind]
        named = [
            name.decode() if isinstance(name, bytes) else name
            for name in self.operation.attributes.get("activations", default * self.directions)
        ]
        found = named[direction * len(default) : (direction + 1) * len(default)]
        if not set(found) <= _ACTIVATIONS:
            raise self.code.refuse(self.operation, f"its activations are {', '.join(found)}")
        for name in found:
            self.code.kernel(name.lower(), self.type)
        return [name.lower() for name in found]

    def put_direction(self, direction: int) -> None:
        code, size = self.code, self.batch * self.hidden
        h = self._state(1, 5, direction, size)
        c = self._state(2, 6, direction, size) if self.kind == "LSTM" else ""
        backward = self.operation.attributes.get("direction", b"forward") == b"reverse"
        backward = backward or direction == 1
        t = f"({self.time - 1} - t)" if backward else "t"
        strides = row_major((self.time, self.directions, self.batch, self.hidden))
        y = self.operation.output(0)
        looped = self.time > 1
        if looped:
            code.put(f"for (size_t t = 0; t < {self.time}; t++) {{")
        at = t if looped else "0"
        for row in range(self.batch):
            x = _sum(
                code.array(self.x),
                f"{at} * {self.batch * self.width}" if looped else "",
                row * self.width,
            )
            self._put_cell(
                direction, x, _sum(h, "", row * self.hidden), _sum(c, "", row * self.hidden)
            )
        if y is not None:
            place = _sum(
                code.array(y),
                f"{at} * {strides[0]}" if looped else "",
                direction * strides[1],
            )
            code.copy_all(place, h, size, y.dtype)
        if looped:
            code.put("}")

    def _state(self, output: int, source: int, direction: int, size: int) -> str:
        """Where a state lies while the steps run, with its initial value in it."""
        code, offset = self.code, direction * size
        value = self.operation.output(output)
        place = (
            code.memory.scratch(self.type, size)
            if value is None
            else _sum(code.array(value), "", offset)
        )
        initial = self.operation.input(source)
        if initial is None:
            code.fill(place, np.zeros(size, self.x.dtype))
        else:
            code.copy_all(place, _sum(code.array(initial), "", offset), size, self.x.dtype)
        return place

    def _put_cell(self, direction: int, x: str, h: str, c: str) -> None:
        {"RNN": self._put_rnn, "GRU": self._put_gru, "LSTM": self._put_lstm}[self.kind](
            direction, x, h, c
        )

    def _biases(self, direction: int) -> tuple[np.ndarray, np.ndarray]:
        first, second = np.split(self.bias[direction], 2)
        return first, second

    def _gates(self, size: int, place: int = 0) -> str:
        """Working memory of one cell, the same for every row and step."""
        if place not in self._memory:
            self._memory[place] = self.code.memory.scratch(self.type, size)
        return self._memory[place]

    def _call(self, kind: str, variant: Sequence[str], *arguments: str) -> None:
        self.code.kernel(kind, self.type, *variant)
        name = "_".join([self.code.prefix, kind, self.type, *variant])
        self.code.put(f"{name}({', '.join([*arguments, str(self.hidden)])});")

    def _put_rnn(self, direction: int, x: str, h: str, c: str) -> None:
        code, (first, second) = self.code, self._biases(direction)
        z = self._gates(self.hidden)
        code.fill(z, first + second)
        code.product(z, x, self.weight[direction])
        code.product(z, h, self.recurrent[direction])
        self._call("rnn", self.activations(direction), z, h)

    def _put_lstm(self, direction: int, x: str, h: str, c: str) -> None:
        code, (first, second) = self.code, self._biases(direction)
        z = self._gates(4 * self.hidden)
        code.fill(z, first + second)
        code.product(z, x, self.weight[direction])
        code.product(z, h, self.recurrent[direction])
        if self.peepholes is None:
            self._call("lstm", self.activations(direction), z, h, c)
        else:
            table = code.tables.add(self.peepholes[direction])
            self._call("peephole_lstm", self.activations(direction), z, h, c, table)

    def _put_gru(self, direction: int, x: str, h: str, c: str) -> None:
        code, size, (first, second) = self.code, self.hidden, self._biases(direction)
        z = self._gates(3 * size)
        after = self.operation.attributes.get("linear_before_reset", 0) == 1
        weight, recurrent = self.weight[direction], self.recurrent[direction]
        bias = first + second
        if after:
            bias[2 * size :] = first[2 * size :]
        code.fill(z, bias)
        code.product(z, x, weight)
        code.product(z, h, recurrent[: 2 * size])
        variant = self.activations(direction)
        if after:
            n = self._gates(size, 1)
            code.fill(n, second[2 * size :])
            code.product(n, h, recurrent[2 * size :])
            self._call("gru", variant, z, n, h)
        else:
            n = self._gates(size, 1)
            self._call("gru_reset", variant[:1], z, h, n)
            code.product(f"{z} + {2 * size}", n, recurrent[2 * size :])
            self._call("gru_update", variant, z, h)


def _sum(start: str, *terms: str | int) -> str:
    return " + ".join([start, *(str(term) for term in terms if term)])


WRITERS = dict.fromkeys(_GATES, _write_layer)
