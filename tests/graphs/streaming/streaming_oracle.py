"""Graphs written by hand, and what holds of a stream of them: the whole graph is the oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper, parser

from rnn_edge.contract import AxisLimits, GraphContract, StatePair, TensorSpec
from rnn_edge.graphs.streaming import Stream, derive_stream

Arrays = dict[str, np.ndarray]


def build(text: str, opset: int = 20, **weights: np.ndarray | tuple[int, ...]) -> ir.Model:
    """A model from ONNX's text form; a tuple among the weights is the shape of random ones."""
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> {text}')
    random = np.random.default_rng(0)
    for name, given_ in weights.items():
        array = (
            (0.5 * random.standard_normal(given_)).astype(np.float32)
            if isinstance(given_, tuple)
            else given_
        )
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    return ir.from_proto(model)


def contract_of(
    model: ir.Model, states: Sequence[StatePair] = (), lengths: Mapping[str, str] | None = None
) -> GraphContract:
    """``lengths`` says of which axis an input holds the lengths."""

    def spec(value: ir.Value) -> TensorSpec:
        assert value.name is not None
        assert value.dtype is not None
        assert value.shape is not None
        dims = tuple(d if isinstance(d, int) else str(d.value) for d in value.shape)
        of = (lengths or {}).get(value.name)
        return TensorSpec(value.name, str(value.dtype.numpy()), dims, lengths_of=of)

    inputs = tuple(map(spec, model.graph.inputs))
    axes = {dim: AxisLimits() for each in inputs for dim in each.dims if isinstance(dim, str)}
    return GraphContract(
        "model.onnx", inputs, tuple(map(spec, model.graph.outputs)), tuple(states), axes
    )


def open_session(model: ir.Model) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


class Streaming:
    """A whole-sequence graph and its stream."""

    def __init__(self, model: ir.Model, contract: GraphContract | None = None, **options: Any):
        self.contract = contract or contract_of(model)
        self.stream: Stream = derive_stream(model, self.contract, **options)
        self.form = self.stream.contract
        assert self.form.stream is not None
        self.rule = self.form.stream
        self.whole = open_session(model)
        self.session = open_session(self.stream.model)

    def operators(self) -> list[str]:
        return [node.op_type for node in self.stream.model.graph]

    def draw(self, rows: int, frames: int, seed: int) -> Arrays:
        """Inputs of the whole graph; states are not zero."""
        random = np.random.default_rng(seed)
        sizes = {"batch": rows, self.rule.axis: frames}
        specs = {spec.name: spec for spec in self.form.inputs}
        found: Arrays = {}
        for spec in self.contract.inputs:
            dims = specs.get(spec.name, spec).dims  # a fixed axis of time has a name there
            shape = [sizes.get(d, 3) if isinstance(d, str) else d for d in dims]
            if spec.lengths_of:
                found[spec.name] = np.full(shape, frames, spec.dtype)
            elif spec.dtype == "float32":
                found[spec.name] = random.standard_normal(shape).astype(np.float32)
            elif spec.dtype == "bool":
                found[spec.name] = random.random(shape) > 0.5
            else:
                found[spec.name] = random.integers(0, 5, shape).astype(spec.dtype)
        return found

    def answer(self, inputs: Arrays) -> Arrays:
        names = [spec.name for spec in self.contract.outputs]
        return dict(zip(names, self.whole.run(names, inputs), strict=True))

    def start(self, inputs: Arrays) -> Arrays:
        """States before the first frame."""
        sizes = {
            dim: size
            for spec in self.contract.inputs
            for dim, size in zip(spec.dims, inputs[spec.name].shape, strict=True)
            if isinstance(dim, str)
        }
        states = {}
        for pair in self.form.states:
            spec = self.form.input(pair.input)
            shape = [sizes[d] if isinstance(d, str) else d for d in spec.dims]
            states[pair.input] = inputs.get(
                pair.input, np.full(shape, pair.initial, np.dtype(spec.dtype))
            )
        return states

    def step(self, inputs: Arrays, states: Arrays, place: int, size: int, reset: Any) -> Arrays:
        """One chunk; ``states`` are replaced by those after it."""
        feed = {}
        for spec in self.form.inputs:
            if spec.name in states:
                feed[spec.name] = states[spec.name]
            elif spec.name == self.rule.reset:
                feed[spec.name] = np.asarray(reset, bool)
            else:
                array = inputs[spec.name]
                if self.rule.axis in spec.dims:
                    axis = spec.dims.index(self.rule.axis)
                    array = np.take(array, range(place, place + size), axis)
                feed[spec.name] = array
        names = [spec.name for spec in self.form.outputs]
        found = dict(zip(names, self.session.run(names, feed), strict=True))
        states.update({pair.input: found[pair.output] for pair in self.form.states})
        return found

    def time_of(self, name: str) -> int | None:
        marks = (self.rule.axis, f"{name}.frames")
        dims = self.form.output(name).dims
        return next((n for n, dim in enumerate(dims) if dim in marks), None)

    def run(self, inputs: Arrays, chunks: Sequence[int]) -> Arrays:
        """Outputs over all chunks; answers for all so far are the last ones."""
        states, place = self.start(inputs), 0
        parts: dict[str, list[np.ndarray]] = {s.name: [] for s in self.contract.outputs}
        rows = (
            next(iter(inputs.values())).shape[0] if self.rule.reset is None else self.rows(inputs)
        )
        for number, size in enumerate(chunks):
            found = self.step(inputs, states, place, size, np.full(rows, number == 0))
            place += size
            for name, arrays in parts.items():
                arrays.append(found[name])
        return {
            name: arrays[-1]
            if (axis := self.time_of(name)) is None
            else np.concatenate(arrays, axis)
            for name, arrays in parts.items()
        }

    def rows(self, inputs: Arrays) -> int:
        for spec in self.contract.inputs:
            if "batch" in spec.dims:
                return inputs[spec.name].shape[spec.dims.index("batch")]
        return 1

    def compare(self, rows: int, chunks: Sequence[int], seed: int) -> None:
        inputs = self.draw(rows, sum(chunks), seed)
        expected, found = self.answer(inputs), self.run(inputs, chunks)
        for name, whole in expected.items():
            self.hold(name, found[name], whole, f"{name} in chunks {chunks}")

    def hold(self, name: str, found: np.ndarray, whole: np.ndarray, words: str) -> None:
        axis = self.time_of(name)
        if axis is not None:
            count, most = found.shape[axis], whole.shape[axis]
            assert most - self.rule.latency <= count <= most, f"{words}: {count} of {most} frames"
            whole = np.take(whole, range(count), axis)
        np.testing.assert_allclose(found, whole, rtol=2e-5, atol=2e-6, err_msg=words)

    def compare_reset(self) -> None:
        """Rows that start anew in mid-stream give what a fresh stream gives, others go on."""
        first, second = self.draw(3, 7, 1), self.draw(3, 6, 2)
        again = np.ones(3, bool) if self.rule.in_step else np.array([False, True, False])
        states, place = self.start(first), 0
        for number, size in enumerate((4, 3)):
            self.step(first, states, place, size, np.full(3, number == 0))
            place += size
        fresh = self.start(second)
        for pair in self.form.states:
            # A graph that clears its states itself is given what was left in them.
            if pair.batch_axis is None:
                states[pair.input] = fresh[pair.input]
            else:
                axis = pair.batch_axis
                shape = [-1 if n == axis else 1 for n in range(states[pair.input].ndim)]
                mask = again.reshape(shape)
                states[pair.input] = np.where(mask, fresh[pair.input], states[pair.input])
        both = {name: self._join(name, first[name], array) for name, array in second.items()}
        still = {
            n: a for n, a in first.items() if self.rule.axis not in self.contract.input(n).dims
        }
        for row in range(3):
            if again[row]:
                self._follow(row, second, states, again, second, 0)
            elif not still or all(s in self.form.state_inputs for s in still):
                self._follow(row, second, states, again, both, 7)

    def _join(self, name: str, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        spec = self.contract.input(name)
        if spec.lengths_of:
            return one + other
        if self.rule.axis not in spec.dims:
            return one
        return np.concatenate([one, other], spec.dims.index(self.rule.axis))

    def _follow(
        self, row: int, second: Arrays, states: Arrays, again: np.ndarray, whole: Arrays, skip: int
    ) -> None:
        """``second`` in two chunks from ``states``: the frames of ``whole`` from ``skip`` on."""
        now, parts, place = dict(states), [], 0
        for number, size in enumerate((2, 4)):
            parts.append(self.step(second, now, place, size, again & (number == 0)))
            place += size
        expected = self.answer(whole)
        for spec in self.contract.outputs:
            axis, rows = self.time_of(spec.name), spec.dims.index("batch")
            found = [np.take(part[spec.name], row, rows) for part in parts]
            wanted = np.take(expected[spec.name], row, rows)
            if axis is None:
                joined = found[-1]
            else:
                axis -= rows < axis
                joined = np.concatenate(found, axis)
                count = joined.shape[axis]
                # The frames that the stream gives last; some may still be to come.
                end = wanted.shape[axis] - self._late(expected, spec.name, skip, count)
                wanted = np.take(wanted, range(end - count, end), axis)
            np.testing.assert_allclose(
                joined, wanted, rtol=2e-5, atol=2e-6, err_msg=f"row {row} of {spec.name}"
            )

    def _late(self, expected: Arrays, name: str, skip: int, count: int) -> int:
        """Frames of the whole that a stream still holds back when all is in."""
        axis = self.time_of(name)
        assert axis is not None
        whole = expected[name].shape[axis]
        total = sum(self.form_frames(skip, count, whole))
        return whole - total

    def form_frames(self, skip: int, count: int, whole: int) -> tuple[int, int]:
        """(frames before, frames in) the second part of a stream."""
        held = max(0, min(self.rule.latency, whole))
        return whole - held - count, count


def check(streaming: Streaming, shortest: int = 1, reset: bool = True) -> Streaming:
    """Any chunking gives the whole; rows start anew alone. ``shortest`` frames the whole needs."""

    @settings(max_examples=12, deadline=None, derandomize=True)
    @given(
        rows=st.integers(1, 3),
        chunks=st.lists(st.integers(1, 6), min_size=1, max_size=7),
        seed=st.integers(0, 9),
    )
    @example(rows=1, chunks=[1], seed=0)
    @example(rows=2, chunks=[1] * 11, seed=0)
    @example(rows=3, chunks=[16], seed=0)
    @example(rows=2, chunks=[2, 3, 5, 7], seed=0)
    def compare(rows: int, chunks: list[int], seed: int) -> None:
        chunks = [*chunks, *[1] * (shortest - sum(chunks))]
        streaming.compare(rows, chunks, seed)

    compare()
    if reset:
        streaming.compare_reset()
    return streaming


def stream_of(model: ir.Model, **options: Any) -> Streaming:
    """The checked stream of a graph whose inputs say all."""
    return check(Streaming(model, **options))
