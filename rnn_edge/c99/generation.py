"""A stream graph and its contract -> the text of model.h and model.c."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.bundle import Bundle
from rnn_edge.c99.code import Code
from rnn_edge.c99.lowering import lower, refuse
from rnn_edge.c99.memory import Memory, c_type
from rnn_edge.c99.naming import c_name, prefix_of
from rnn_edge.c99.operators import WRITERS
from rnn_edge.c99.program import Operation, Program, Value
from rnn_edge.c99.tables import ROUND, TILE, literal
from rnn_edge.contract import METADATA_KEY, GraphContract, TensorSpec
from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra
from rnn_edge.rendering import render
from rnn_edge.version import VERSION

STREAM = "stream"
HEADER, SOURCE = "model.h", "model.c"
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Tensor:
    """An input, output or state of a step, as C names it."""

    name: str
    c_name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    meaning: str = ""
    wrong: str = ""
    initial: str = "0"

    @property
    def type(self) -> str:
        return c_type(self.dtype)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def dims(self) -> str:
        return f"[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Generated:
    """``sources`` are the texts by file name; the tensors are those of a step, batch 1."""

    name: str
    prefix: str
    contract: GraphContract
    sha256: str
    frames: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    states: tuple[Tensor, ...]
    has_start: bool
    int8: bool
    weight_bytes: int
    macs: int
    sources: dict[str, str]


def stream_file(source: Bundle | Path) -> tuple[str, Path]:
    """(name, path of the stream graph). Raises InputError where a bundle has none."""
    if isinstance(source, Path):
        return source.name.partition(".")[0], source
    if STREAM not in source.contract.graphs:
        reason = (source.evidence.get(STREAM) or {}).get("refused", "the export wrote none")
        raise InputError(
            f"bundle {source.name} must hold a graph {STREAM!r} to become C99, it holds "
            f"{', '.join(source.contract.graphs)}: {reason.rstrip('.')}. "
            "Export a causal model for streaming."
        )
    return source.name, source.graph_path(STREAM)


def generate(source: Bundle | Path, *, int8: bool = False) -> Generated:
    """The C of a bundle's stream graph, or of a lone file of one that carries its contract.

    Needs the onnx package. Raises InputError, or IntegrationError naming the operator that cannot
    be written.
    """
    name, path = stream_file(source)
    content = path.read_bytes()
    model = _load(path)
    contract = _contract(model, path)
    rule = contract.stream
    assert rule is not None
    frames = contract.axes[rule.axis].minimum if rule.axis in contract.axes else 1
    program = lower(model, {rule.axis: frames, **dict.fromkeys(batch_names(contract), 1)})
    return _Generator(name, contract, program, int8).generated(
        path.name, hashlib.sha256(content).hexdigest(), frames
    )


def _load(path: Path) -> Any:
    onnx = import_extra("onnx")
    try:
        return onnx.load(path)
    except Exception as error:  # noqa: BLE001 (protobuf raises its own kinds)
        raise InputError(
            f"{path} must be an ONNX file, it cannot be read ({type(error).__name__}). "
            "Give a bundle or a stream graph."
        ) from None


def _contract(model: Any, path: Path) -> GraphContract:
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            contract = GraphContract.from_json(entry.value)
            if contract.stream is not None:
                return contract
    raise InputError(
        f"{path} must be a stream graph with its contract inside, it is not. "
        f"Run: rnn-edge stream {path}"
    )


def batch_names(contract: GraphContract) -> set[str]:
    """The names that the axis of rows has in a contract."""
    names: set[int | str] = {"batch"}
    for pair in contract.states:
        if pair.batch_axis is not None:
            names.add(contract.input(pair.input).dims[pair.batch_axis])
    return {name for name in names if isinstance(name, str)}


def axes_of(spec: TensorSpec, contract: GraphContract) -> tuple[int | None, int | None]:
    """(axis of rows, axis of time) of an input or output; None where it has none."""
    assert contract.stream is not None
    rows, time = batch_names(contract), contract.stream.axis
    row = [axis for axis, dim in enumerate(spec.dims) if dim in rows]
    frame = [axis for axis, dim in enumerate(spec.dims) if dim == time]
    return (row[0] if row else None), (frame[0] if frame else None)


class _Generator:
    def __init__(self, name: str, contract: GraphContract, program: Program, int8: bool) -> None:
        self.name, self.contract, self.program, self.int8 = name, contract, program, int8
        self.prefix = prefix_of(name)
        self.reset = contract.stream.reset if contract.stream is not None else None
        self.states = {pair.input: pair for pair in contract.states}
        self.after = {pair.output: pair for pair in contract.states}
        self.taken: set[str] = set()
        self.inputs = [
            self._input(value) for value in program.inputs
            if value.name not in self.states and value.name != self.reset
        ]  # fmt: skip
        named = zip(contract.outputs, program.outputs, strict=True)
        self.answers = [(spec, value) for spec, value in named if spec.name not in self.after]
        self.outputs = [
            Tensor(spec.name, self._free(spec.name), value.dtype, value.shape, spec.meaning)
            for spec, value in self.answers
        ]
        self.fields = [
            Tensor(
                value.name, c_name(value.name, set()), value.dtype, value.shape,
                initial=self._initial(value),
            )
            for value in program.inputs if value.name in self.states
        ]  # fmt: skip
        self.memory = Memory(program, self._held())
        self.code = Code(self.prefix, self.memory, int8)

    def _free(self, name: str) -> str:
        found = c_name(name, self.taken)
        self.taken.add(found)
        return found

    def _input(self, value: Value) -> Tensor:
        spec = self.contract.input(value.name)
        name = self._free(value.name)
        return Tensor(
            value.name, name, value.dtype, value.shape, spec.meaning, _wrong(spec, value, name)
        )

    def _initial(self, value: Value) -> str:
        initial = self.states[value.name].initial
        return literal(value.dtype.type(initial).item(), value.dtype) if initial else "0"

    def _held(self) -> dict[Value, str]:
        """Memory that is not working memory: parameters and states."""
        held: dict[Value, str] = {}
        fields = {field.name: field.c_name for field in self.fields}
        inputs = {tensor.name: tensor.c_name for tensor in self.inputs}
        for value in self.program.inputs:
            if value.name in fields:
                held[value] = f"s->{fields[value.name]}"
            elif value.name == self.reset:
                held[value] = "(&s->start)"
            else:
                held[value] = inputs[value.name]
        for tensor, (_, value) in zip(self.outputs, self.answers, strict=True):
            if value.constant is None and value.root not in held:
                held[value.root] = tensor.c_name
        return held

    def generated(self, file: str, sha256: str, frames: int) -> Generated:
        operations = [self._written(operation) for operation in self.program.operations]
        ending = self._ending()
        memories = [
            {"type": kind, "name": f"{use}_{kind}", "size": size}
            for use, sizes in (("work", self.memory.sizes), ("scratch", self.memory.scratch_sizes))
            for kind, size in sizes.items()
        ]
        values: dict[str, Any] = {
            "name": self.name, "p": self.prefix, "P": self.prefix.upper(), "header": HEADER,
            "producer": f"rnn-edge {VERSION}", "file": file, "sha256": sha256, "frames": frames,
            "inputs": self.inputs, "outputs": self.outputs, "states": self.fields,
            "has_start": self.reset is not None, "memories": memories,
            "weight_bytes": self.code.tables.bytes, "tables": self.code.tables.tables,
            "kernels": [list(key) for key in sorted(self.code.kernels)],
            "tile": TILE, "round": ROUND,
            "operations": operations, "ending": ending,
        }  # fmt: skip
        sources = {name: render(_TEMPLATES / f"{name}.jinja", values) for name in (HEADER, SOURCE)}
        return Generated(
            self.name, self.prefix, self.contract, sha256, frames,
            tuple(self.inputs), tuple(self.outputs), tuple(self.fields),
            self.reset is not None, self.int8, self.code.tables.bytes, self.code.macs, sources,
        )  # fmt: skip

    def _written(self, operation: Operation) -> Mapping[str, Any]:
        if operation.kind not in WRITERS:
            raise refuse(operation.kind, operation.name, "it is not among those that are")
        self.code.lines = []
        self.memory.begin_operation()
        WRITERS[operation.kind](self.code, operation)
        name = operation.name.replace("*/", "")
        return {"kind": operation.kind, "name": name, "lines": self.code.lines}

    def _ending(self) -> Sequence[str]:
        """Answers that lie elsewhere to where they are wanted; then the states move on."""
        code = self.code
        code.lines = []
        self.memory.begin_operation()
        for tensor, (_, value) in zip(self.outputs, self.answers, strict=True):
            if code.array(value) != tensor.c_name:
                code.copy_all(tensor.c_name, code.array(value), value.size, value.dtype)
        moves = []
        for spec, value in zip(self.contract.outputs, self.program.outputs, strict=True):
            if spec.name not in self.after:
                continue
            target = f"s->{c_name(self.after[spec.name].input, set())}"
            place = code.array(value)
            if place == target:
                continue
            if value.constant is None and value.root.name in self.states:
                aside = self.memory.scratch(c_type(value.dtype), value.size)
                code.copy_all(aside, place, value.size, value.dtype)
                place = aside
            moves.append((target, place, value))
        for target, place, value in moves:
            code.copy_all(target, place, value.size, value.dtype)
        return code.lines


def _wrong(spec: TensorSpec, value: Value, name: str) -> str:
    """The C condition under which element i of an input must not be used."""
    element = f"{name}[i]"
    tests = []
    if value.dtype.kind == "f":
        tests.append(f"!isfinite({element})")
    if value.dtype.kind in "iuf":
        for bound, sign in ((spec.minimum, "<"), (spec.maximum, ">")):
            if bound is not None and not (value.dtype.kind == "u" and bound <= 0):
                number = float(bound) if value.dtype.kind == "f" else int(bound)
                tests.append(f"{element} {sign} {literal(number, value.dtype)}")
    return " || ".join(tests)
