"""ONNX -> Program: every shape a number, what is known computed, bodies of Scan and If inlined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnn_edge.c99.program import Operation, Program, Value
from rnn_edge.errors import IntegrationError
from rnn_edge.extras import import_extra

# A Scan over more frames than this would be written out as too much code.
MOST_FRAMES = 16
_RESHAPING = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout"}


def lower(
    model: Any, sizes: Mapping[str, int], known: Mapping[str, np.ndarray] | None = None
) -> Program:
    """``sizes`` gives every named axis of the inputs a number, ``known`` some inputs' content.

    Raises IntegrationError, naming the node, where a shape depends on values.
    """
    return _Lowering(model).program(sizes, known or {})


_ELSEWHERE = "Run this model with ONNX Runtime, or change that part of it."
# What `rnn-edge quantize` has written: C has int8 weights of its own.
_IN_FLOAT32 = "Give the float32 bundle, with int8 weights of C's own (--int8, c-int8) if you like."


def refuse(kind: str, name: str, what: str, cure: str = _ELSEWHERE) -> IntegrationError:
    return IntegrationError(
        f"operator {kind} ({name}) must be one that can be written as C99, {what}. {cure}"
    )


def _moves_nothing(
    kind: str, inputs: Sequence[Value | None], output: Value, attributes: Mapping[str, Any]
) -> bool:
    """Whether an output holds the elements of the first input in their order."""
    source = inputs[0]
    if kind in _RESHAPING:
        return True
    if source is None or source.constant is not None or source.size != output.size:
        return False
    if kind == "Transpose":
        order = attributes.get("perm", range(len(source.shape))[::-1])
        long = [axis for axis in order if source.shape[axis] != 1]
        return long == sorted(long)
    if kind == "Slice":
        steps = inputs[4] if len(inputs) > 4 else None
        return steps is None or (steps.constant is not None and bool((steps.constant > 0).all()))
    if kind == "Gather":
        return source.shape[attributes.get("axis", 0)] == 1 and _is_known(inputs[1])
    return kind in ("Expand", "Tile") or (kind in ("Concat", "Split") and len(inputs) == 1)


def _is_known(value: Value | None) -> bool:
    return value is not None and value.constant is not None


class _Lowering:
    def __init__(self, model: Any) -> None:
        self.onnx = import_extra("onnx")
        self.helper = import_extra("onnx.helper")
        self.numpy_helper = import_extra("onnx.numpy_helper")
        self.inference = import_extra("onnx.shape_inference")
        self.reference = import_extra("onnx.reference")
        self.model = model
        self.opsets = {entry.domain: entry.version for entry in model.opset_import}
        self.operations: list[Operation] = []
        self.made = 0

    def program(self, sizes: Mapping[str, int], known: Mapping[str, np.ndarray]) -> Program:
        graph = self.model.graph
        scope = self._constants(graph)
        inputs = []
        for info in graph.input:
            if info.name not in scope:
                scope[info.name] = self._input(info, sizes)
                scope[info.name].constant = known.get(info.name)
                inputs.append(scope[info.name])
        self._run(graph.node, scope)
        outputs = [scope[info.name] for info in graph.output]
        return Program(inputs, outputs, self._needed(outputs))

    def _constants(self, graph: Any) -> dict[str, Value]:
        found = {}
        for tensor in graph.initializer:
            array = self.numpy_helper.to_array(tensor)
            found[tensor.name] = Value(tensor.name, array.dtype, array.shape, array)
        return found

    def _input(self, info: Any, sizes: Mapping[str, int]) -> Value:
        tensor = info.type.tensor_type
        shape = []
        for dim in tensor.shape.dim:
            name = dim.dim_param
            if name and name not in sizes:
                raise IntegrationError(
                    f"axes of input {info.name} must be fixed, batch or time, got {name!r}. "
                    "Export the model with that axis fixed."
                )
            shape.append(sizes[name] if name else dim.dim_value)
        dtype = self.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        return Value(info.name, np.dtype(dtype), tuple(shape))

    def _run(self, nodes: Sequence[Any], scope: dict[str, Value]) -> None:
        for node in nodes:
            inputs = [scope[name] if name else None for name in node.input]
            attributes = {
                entry.name: self.helper.get_attribute_value(entry) for entry in node.attribute
            }
            for name, value in zip(
                node.output, self._outputs(node, inputs, attributes, scope), strict=False
            ):
                if name and value is not None:
                    scope[name] = value

    def _outputs(
        self,
        node: Any,
        inputs: list[Value | None],
        attributes: dict[str, Any],
        scope: dict[str, Value],
    ) -> Sequence[Value | None]:
        kind, name = node.op_type, node.name or node.output[0]
        first = inputs[0] if inputs else None
        if node.domain not in ("", "ai.onnx"):
            cure = _IN_FLOAT32 if node.domain == "com.microsoft" else _ELSEWHERE
            raise refuse(f"{node.domain}.{kind}", name, "it is not a standard one", cure)
        if kind == "Shape" and first is not None:
            shape = first.shape[slice(attributes.get("start", 0), attributes.get("end"))]
            return [self._known(np.array(shape, np.int64))]
        if kind == "Size" and first is not None:
            return [self._known(np.array(first.size, np.int64))]
        if kind == "If":
            return self._branch(node, first, attributes, scope)
        if kind == "Scan":
            return self._scan(name, inputs, attributes, scope)
        if kind == "Loop":
            return self._loop(name, inputs, attributes, scope)
        if all(value is None or value.constant is not None for value in inputs):
            return self._folded(node, inputs)
        if kind == "Range":
            return [self._counted(name, inputs)]
        return self._operation(node, name, inputs, attributes)

    def _counted(self, name: str, inputs: list[Value | None]) -> Value:
        """Range from a number that is not known to one that is known to be so much larger."""
        start, limit, step = inputs
        assert start is not None
        assert limit is not None
        assert step is not None
        for operation in self.operations:
            if operation.kind == "Add" and operation.outputs[0] is limit.root:
                first, second = operation.required(0), operation.required(1)
                for base, more in ((first, second), (second, first)):
                    if base.root is start.root and _is_known(more) and _is_known(step):
                        size = np.arange(0, more.constant.item(), step.constant.item()).size  # type: ignore[union-attr]
                        output = Value(self._fresh("range"), start.dtype, (size,))
                        self.operations.append(Operation("Range", name, [start, step], [output]))
                        return output
        raise refuse("Range", name, "how many numbers it counts depends on values")

    def _known(self, array: np.ndarray) -> Value:
        return Value(self._fresh("known"), array.dtype, array.shape, array)

    def _fresh(self, stem: str) -> str:
        self.made += 1
        return f"{stem}_{self.made}"

    def _folded(self, node: Any, inputs: list[Value | None]) -> list[Value]:
        """Outputs of a node whose inputs are all known."""
        graph = self.helper.make_graph(
            [node],
            "known",
            [],
            [self.onnx.ValueInfoProto(name=name) for name in node.output if name],
        )
        seen = {}
        for name, value in zip(node.input, inputs, strict=True):
            if value is not None and name not in seen:
                seen[name] = value.constant
                graph.input.append(
                    self.helper.make_tensor_value_info(
                        name, self.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
                    )
                )
        model = self.helper.make_model(graph, opset_imports=self.model.opset_import)
        results = self.reference.ReferenceEvaluator(model).run(None, seen)
        arrays = iter(np.asarray(result) for result in results)
        return [self._known(next(arrays)) if name else None for name in node.output]  # type: ignore[misc]

    def _operation(
        self,
        node: Any,
        name: str,
        inputs: list[Value | None],
        attributes: dict[str, Any],
    ) -> list[Value | None]:
        outputs: list[Value | None] = []
        types = self._types(node, name, inputs)
        for output in node.output:
            if not output or output not in types:
                outputs.append(None)
                continue
            dtype, shape = types[output]
            outputs.append(Value(output, dtype, shape))
        first = outputs[0]
        if first is not None and _moves_nothing(node.op_type, inputs, first, attributes):
            first.view_of = inputs[0]
        else:
            operation = Operation(node.op_type, name, inputs, outputs, attributes)
            operation.attributes["opset"] = self.opsets.get("", 0)
            self.operations.append(operation)
        return outputs

    def _types(
        self, node: Any, name: str, inputs: list[Value | None]
    ) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """dtype and shape of every output. Raises IntegrationError where a size is not known."""
        tensors, types = {}, {}
        for key, value in zip(node.input, inputs, strict=True):
            if value is not None:
                element = self.helper.np_dtype_to_tensor_dtype(value.dtype)
                types[key] = self.helper.make_tensor_type_proto(element, value.shape)
                if value.constant is not None:
                    tensors[key] = self.numpy_helper.from_array(np.asarray(value.constant), key)
        try:
            schema = self.onnx.defs.get_schema(node.op_type, self.opsets.get("", 1), "")
            found = self.inference.infer_node_outputs(
                schema, node, types, tensors, None, self.model.opset_import, self.model.ir_version
            )
        except (self.inference.InferenceError, self.onnx.defs.SchemaError) as error:
            raise refuse(node.op_type, name, str(error).split("\n")[0]) from None
        outputs = {}
        for key, found_type in found.items():
            tensor = found_type.tensor_type
            dims = list(tensor.shape.dim) if tensor.HasField("shape") else None
            if dims is None or not all(dim.HasField("dim_value") for dim in dims):
                raise refuse(node.op_type, name, f"the shape of its output {key} depends on values")
            dtype = np.dtype(self.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
            outputs[key] = (dtype, tuple(dim.dim_value for dim in dims))
        return outputs

    def _branch(
        self,
        node: Any,
        condition: Value | None,
        attributes: dict[str, Any],
        scope: dict[str, Value],
    ) -> list[Value]:
        if condition is None or condition.constant is None:
            raise refuse("If", node.name, "its condition depends on values")
        graph = attributes["then_branch" if condition.constant.all() else "else_branch"]
        return self._body(graph, {}, scope)

    def _body(
        self, graph: Any, inputs: Mapping[str, Value], scope: dict[str, Value]
    ) -> list[Value]:
        """The outputs of a nested graph; it sees the values around it."""
        inner = {**scope, **self._constants(graph), **inputs}
        self._run(graph.node, inner)
        return [inner[info.name] for info in graph.output]

    def _scan(
        self,
        name: str,
        inputs: list[Value | None],
        attributes: dict[str, Any],
        scope: dict[str, Value],
    ) -> list[Value]:
        body, scanned = attributes["body"], attributes["num_scan_inputs"]
        given = [value for value in inputs if value is not None]
        states, sequences = given[: len(given) - scanned], given[len(given) - scanned :]
        gathered = len(body.output) - len(states)
        axes = attributes.get("scan_input_axes", [0] * scanned)
        backward = attributes.get("scan_input_directions", [0] * scanned)
        ends = attributes.get("scan_output_axes", [0] * gathered)
        turned = attributes.get("scan_output_directions", [0] * gathered)
        frames = sequences[0].shape[axes[0]]
        if frames > MOST_FRAMES:
            raise refuse("Scan", name, f"it runs over {frames} frames in a call")
        rows: list[list[Value]] = [[] for _ in range(gathered)]
        for frame in range(frames):
            picked = [
                self._frame(value, axis, frames - 1 - frame if back else frame)
                for value, axis, back in zip(sequences, axes, backward, strict=True)
            ]
            names = [info.name for info in body.input]
            found = self._body(body, dict(zip(names, [*states, *picked], strict=True)), scope)
            states = found[: len(states)]
            for row, value in zip(rows, found[len(states) :], strict=True):
                row.append(value)
        stacked = [
            self._stack(row[::-1] if back else row, axis)
            for row, axis, back in zip(rows, ends, turned, strict=True)
        ]
        return [*states, *stacked]

    def _loop(
        self,
        name: str,
        inputs: list[Value | None],
        attributes: dict[str, Any],
        scope: dict[str, Value],
    ) -> list[Value]:
        body, count, condition = attributes["body"], inputs[0], inputs[1]
        states = [value for value in inputs[2:] if value is not None]
        rows: list[list[Value]] = [[] for _ in range(len(body.output) - 1 - len(states))]
        if count is None or count.constant is None or int(count.constant.item()) > MOST_FRAMES:
            raise refuse("Loop", name, "how often it runs is not known, or too often")
        going = condition or self._known(np.array(True))
        for number in range(int(count.constant.item())):
            if going.constant is None:
                raise refuse("Loop", name, "whether it goes on depends on values")
            if not going.constant.all():
                break
            given = [self._known(np.array(number, np.int64)), going, *states]
            names = [info.name for info in body.input]
            going, *found = self._body(body, dict(zip(names, given, strict=True)), scope)
            states = found[: len(states)]
            for row, value in zip(rows, found[len(states) :], strict=True):
                row.append(value)
        return [*states, *(self._stack(row, 0) for row in rows)]

    def _frame(self, value: Value, axis: int, place: int) -> Value:
        axis %= len(value.shape)
        shape = (*value.shape[:axis], *value.shape[axis + 1 :])
        if value.constant is not None:
            return self._known(np.take(value.constant, place, axis))
        if value.shape[axis] == 1:
            return Value(self._fresh("frame"), value.dtype, shape, None, value)
        index = self._known(np.array(place, np.int64))
        output = Value(self._fresh("frame"), value.dtype, shape)
        self.operations.append(
            Operation("Gather", output.name, [value, index], [output], {"axis": axis})
        )
        return output

    def _stack(self, values: list[Value], axis: int) -> Value:
        shape = list(values[0].shape)
        axis %= len(shape) + 1
        shape.insert(axis, 1)
        if all(value.constant is not None for value in values):
            return self._known(np.stack([value.constant for value in values], axis))  # type: ignore[misc]
        parts = [self._view(value, tuple(shape)) for value in values]
        if len(parts) == 1:
            return parts[0]
        shape[axis] = len(parts)
        output = Value(self._fresh("stack"), parts[0].dtype, tuple(shape))
        self.operations.append(
            Operation("Concat", output.name, list(parts), [output], {"axis": axis})
        )
        return output

    def _view(self, value: Value, shape: tuple[int, ...]) -> Value:
        if value.constant is not None:
            return self._known(value.constant.reshape(shape))
        return Value(self._fresh("view"), value.dtype, shape, None, value)

    def _needed(self, outputs: list[Value]) -> list[Operation]:
        needed = {value.root for value in outputs}
        kept = []
        for operation in reversed(self.operations):
            if any(value is not None and value.root in needed for value in operation.outputs):
                kept.append(operation)
                needed |= {value.root for value in operation.inputs if value is not None}
        return kept[::-1]
