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
from rnn_edge.c99.lowering import refuse
from rnn_edge.c99.memory import Memory, c_type
from rnn_edge.c99.naming import c_name, prefix_of
from rnn_edge.c99.operators import WRITERS
from rnn_edge.c99.phases import Phases, find_phases
from rnn_edge.c99.program import Operation, Program, Value
from rnn_edge.c99.sharing import find_segments
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
    #: Frames that the first steps of a sequence give, by output; those after them give all.
    starts: dict[str, tuple[int, ...]]
    #: The state that counts the frames before a step, where there are such first steps.
    counter: str | None
    #: Whether there is a function of many rows.
    shares: bool = False


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


def generate(
    source: Bundle | Path, *, int8: bool = False, tiled: bool = False, shared: bool = False
) -> Generated:
    """The C of a bundle's stream graph, or of a lone file of one that carries its contract.

    With ``int8``, weights are bytes; with ``tiled``, for processors with AVX512-VNNI alone. With
    ``shared``, model.c has a function of many rows too, for compilers with vector types: of float32
    weights, where every step gives as many frames. Needs the onnx package. Raises InputError, or
    IntegrationError naming the operator that cannot be written.
    """
    name, path = stream_file(source)
    content = path.read_bytes()
    model = _load(path)
    contract = _contract(model, path)
    phases = find_phases(model, contract, dict.fromkeys(batch_names(contract), 1))
    return _Generator(name, contract, phases, int8, tiled, shared).generated(
        path.name, hashlib.sha256(content).hexdigest()
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


def rate_axis(spec: TensorSpec, contract: GraphContract) -> int | None:
    """The axis of time, or of frames that come at another rate; None where there is none."""
    time = axes_of(spec, contract)[1]
    known = batch_names(contract).union(*(given.dims for given in contract.inputs))
    others = [n for n, dim in enumerate(spec.dims) if isinstance(dim, str) and dim not in known]
    return time if time is not None or not others else others[0]


class _Generator:
    def __init__(
        self,
        name: str,
        contract: GraphContract,
        phases: Phases,
        int8: bool,
        tiled: bool,
        shared: bool,
    ) -> None:
        self.shared = shared and not phases.starts
        self.name, self.contract, self.phases, self.int8 = name, contract, phases, int8
        program = phases.steady
        self.prefix = prefix_of(name)
        self.reset = contract.stream.reset if contract.stream is not None else None
        self.states = {pair.input: pair for pair in contract.states}
        self.after = {pair.output: pair for pair in contract.states}
        self.taken: set[str] = set()
        self.inputs = [
            self._input(value) for value in program.inputs
            if value.name not in self.states and value.name != self.reset
        ]  # fmt: skip
        self.outputs = [
            Tensor(spec.name, self._free(spec.name), value.dtype, value.shape, spec.meaning)
            for spec, value in self._answers(program)
        ]
        self.starts, self.uneven = self._frames_at_first()
        self.fields = [
            Tensor(
                value.name, c_name(value.name, set()), value.dtype, value.shape,
                initial=self._initial(value),
            )
            for value in program.inputs if value.name in self.states
        ]  # fmt: skip
        self.memories = [Memory(each, self._held(each)) for each in (*phases.starts, program)]
        self.code = Code(self.prefix, self.memories[0], int8, tiled)

    def _answers(self, program: Program) -> list[tuple[TensorSpec, Value]]:
        named = zip(self.contract.outputs, program.outputs, strict=True)
        return [(spec, value) for spec, value in named if spec.name not in self.after]

    def _frames_at_first(self) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
        """(frames that the first steps give, their axis) of outputs that not all of them fill."""
        whole = self._answers(self.phases.steady)
        found: dict[str, tuple[int, ...]] = {}
        axes: dict[str, int] = {}
        for place, (spec, value) in enumerate(whole):
            shapes = [self._answers(each)[place][1].shape for each in self.phases.starts]
            for axis, size in enumerate(value.shape):
                if any(shape[axis] != size for shape in shapes):
                    found[spec.name] = tuple(shape[axis] for shape in shapes)
                    axes[spec.name] = axis
        return found, axes

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

    def _held(self, program: Program) -> dict[Value, str]:
        """Memory that is not working memory: parameters and states."""
        held: dict[Value, str] = {}
        fields = {field.name: field.c_name for field in self.fields}
        inputs = {tensor.name: tensor.c_name for tensor in self.inputs}
        for value in program.inputs:
            if value.name in fields:
                held[value] = f"s->{fields[value.name]}"
            elif value.name == self.reset:
                held[value] = "(&s->start)"
            else:
                held[value] = inputs[value.name]
        for tensor, (_, value) in zip(self.outputs, self._answers(program), strict=True):
            if value.constant is None and value.root not in held:
                held[value.root] = tensor.c_name
        return held

    def generated(self, file: str, sha256: str) -> Generated:
        frames, counter = self.phases.frames, self.phases.counter
        programs = (*self.phases.starts, self.phases.steady)
        blocks: list[dict[str, Any]] = []
        for program, memory in zip(programs, self.memories, strict=True):
            self.code.begin(memory)
            self.code.macs = 0
            operations = [self._written(operation) for operation in program.operations]
            blocks.append({"operations": operations, "ending": self._ending(program)})
        lines = [each["lines"] for each in blocks[-1]["operations"]]
        segments = find_segments(lines) if self.shared else []
        shares = any(segment.product is not None for segment in segments)
        memories = [
            {"type": kind, "name": f"{use}_{kind}", "size": size}
            for use, sizes in (("work", [memory.sizes for memory in self.memories]),
                               ("scratch", [memory.scratch_sizes for memory in self.memories]))
            for kind, size in _largest(sizes).items()
        ]  # fmt: skip
        values: dict[str, Any] = {
            "name": self.name, "p": self.prefix, "P": self.prefix.upper(), "header": HEADER,
            "producer": f"rnn-edge {VERSION}", "file": file, "sha256": sha256, "frames": frames,
            "inputs": self.inputs, "outputs": self.outputs, "states": self.fields,
            "has_start": self.reset is not None, "memories": memories,
            "weight_bytes": self.code.tables.bytes, "tables": self.code.tables.tables,
            "kernels": [list(key) for key in sorted(self.code.kernels)],
            "tile": TILE, "round": ROUND, "tiled": self.code.tiled,
            "segments": segments if shares else [],
            "blocks": blocks, "partial": self.partial,
            "counter": None if counter is None else c_name(counter, set()),
        }  # fmt: skip
        sources = {name: render(_TEMPLATES / f"{name}.jinja", values) for name in (HEADER, SOURCE)}
        return Generated(
            self.name, self.prefix, self.contract, sha256, frames,
            tuple(self.inputs), tuple(self.outputs), tuple(self.fields),
            self.reset is not None, self.int8, self.code.tables.bytes, self.code.macs, sources,
            self.starts, counter, shares,
        )  # fmt: skip

    def _written(self, operation: Operation) -> Mapping[str, Any]:
        if operation.kind not in WRITERS:
            raise refuse(operation.kind, operation.name, "it is not among those that are")
        self.code.lines = []
        self.code.memory.begin_operation()
        WRITERS[operation.kind](self.code, operation)
        name = operation.name.replace("*/", "")
        return {"kind": operation.kind, "name": name, "lines": self.code.lines}

    @property
    def partial(self) -> dict[str, str]:
        """The field that tells how many frames a step gave, by the C name of an output."""
        return {
            tensor.c_name: f"frames_of_{tensor.c_name}"
            for tensor in self.outputs
            if tensor.name in self.starts
        }

    def _ending(self, program: Program) -> Sequence[str]:
        """Answers that lie elsewhere to where they are wanted; then the states move on."""
        code, counter = self.code, self.phases.counter
        code.lines = []
        code.memory.begin_operation()
        for tensor, (_, value) in zip(self.outputs, self._answers(program), strict=True):
            if tensor.name in self.starts:
                frames = value.shape[self.uneven[tensor.name]]
                code.put(f"s->{self.partial[tensor.c_name]} = {frames};")
            if code.array(value) != tensor.c_name:
                code.copy_all(tensor.c_name, code.array(value), value.size, value.dtype)
        moves = []
        for spec, value in zip(self.contract.outputs, program.outputs, strict=True):
            if spec.name not in self.after:
                continue
            if self.after[spec.name].input == counter:
                code.put(f"s->{c_name(counter, set())}[0] += {self.phases.frames};")
                continue
            target = f"s->{c_name(self.after[spec.name].input, set())}"
            place = code.array(value)
            if place == target:
                continue
            if value.constant is None and value.root.name in self.states:
                aside = code.memory.scratch(c_type(value.dtype), value.size)
                code.copy_all(aside, place, value.size, value.dtype)
                place = aside
            moves.append((target, place, value))
        for target, place, value in moves:
            code.copy_all(target, place, value.size, value.dtype)
        return code.lines


def _largest(sizes: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The largest size of each kind: programs do not run at once."""
    found: dict[str, int] = {}
    for each in sizes:
        for kind, size in each.items():
            found[kind] = max(found.get(kind, 0), size)
    return found


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
