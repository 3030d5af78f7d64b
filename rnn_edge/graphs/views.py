"""Nodes that leave every element in its place become one Reshape, or nothing."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

_VIEWS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Identity", "Expand", "Slice")

_Dims = list[int | str | None]


def merge_views(model: ir.Model) -> None:
    """One Reshape to constants for a chain of views; needs the shapes of values."""
    graph = model.graph
    for node in list(graph):
        if node.op_type not in _VIEWS or not _keeps_order(node):
            continue
        output, root = node.outputs[0], node.inputs[0]
        while root is not None and (before := root.producer()) is not None:
            if (
                before.op_type not in _VIEWS
                or not _keeps_order(before)
                or before.graph is not graph
            ):
                break
            root = before.inputs[0]
        after = _dims(output)
        assert root is not None
        if after is None or sum(not isinstance(dim, int) for dim in after) > 1:
            continue
        if _dims(root) == after and not any(dim is None for dim in after):
            _drop(graph, node, root)
        else:
            _reshape(graph, node, root, after)


def _dims(value: ir.Value | None) -> _Dims | None:
    if value is None or value.shape is None:
        return None
    return [dim if isinstance(dim, int) else dim.value for dim in value.shape]


def _keeps_order(node: ir.Node) -> bool:
    before, after = _dims(node.inputs[0]), _dims(node.outputs[0])
    if node.op_type == "Expand":
        # Of the same elements, where no axis grows.
        return before is not None and after is not None and _known(before) == _known(after)
    if node.op_type == "Slice":
        return before is not None and before == after and None not in before and _forward(node)
    if node.op_type != "Transpose":
        return True
    if before is None:
        return False
    given = node.attributes.get("perm")
    order = list(given.as_ints()) if given is not None else list(reversed(range(len(before))))
    moved = [axis for axis in order if before[axis] != 1]
    return moved == sorted(moved)


def _forward(node: ir.Node) -> bool:
    steps = _numbers(node.inputs[4]) if len(node.inputs) > 4 else [1]
    return steps is not None and all(step > 0 for step in steps)


def _known(dims: _Dims) -> list[int | str | object]:
    """The axes that are more than 1, those of unknown size unlike any other."""
    return [object() if dim is None else dim for dim in dims if dim != 1]


def _drop(graph: ir.Graph, node: ir.Node, root: ir.Value) -> None:
    output = node.outputs[0]
    if not output.is_graph_output():
        output.replace_all_uses_with(root)
        graph.remove(node, safe=True)
    elif node.op_type != "Identity" or node.inputs[0] is not root:
        _replace(graph, node, ir.node("Identity", [root]))


def _reshape(graph: ir.Graph, node: ir.Node, root: ir.Value, after: _Dims) -> None:
    target = np.array([dim if isinstance(dim, int) else -1 for dim in after], np.int64)
    name = f"view_{'_'.join(map(str, target))}"
    if name not in graph.initializers:
        graph.initializers[name] = ir.val(name, const_value=ir.tensor(target, name=name))
    _replace(graph, node, ir.node("Reshape", [root, graph.initializers[name]]))


def _replace(graph: ir.Graph, node: ir.Node, new: ir.Node) -> None:
    old, output = node.outputs[0], new.outputs[0]
    output.type, output.shape = old.type, old.shape
    name, old.name = old.name, f"{old.name}.before"
    output.name = name
    graph.insert_before(node, new)
    old.replace_all_uses_with(output, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def fold_sizes(model: ir.Model) -> None:
    """Sizes that are known become constants: of Shape, and of what is taken of a Shape."""
    graph = model.graph
    sizes: dict[ir.Value, _Dims] = {}
    for node in list(graph):
        dims = _sizes_after(node, sizes)
        if dims is None:
            continue
        output = node.outputs[0]
        sizes[output] = dims
        if all(isinstance(dim, int) for dim in dims) and not output.is_graph_output():
            flat = node.op_type in ("Gather", "Squeeze") and _rank(output) == 0
            array = np.array(dims[0] if flat else dims, np.int64)
            name = f"{output.name}.known"
            constant = ir.val(name, const_value=ir.tensor(array, name=name))
            graph.initializers[name] = constant
            output.replace_all_uses_with(constant)
            sizes[constant] = dims


def _rank(value: ir.Value) -> int | None:
    return None if value.shape is None else len(value.shape)


def _sizes_after(node: ir.Node, sizes: dict[ir.Value, _Dims]) -> _Dims | None:
    value = node.inputs[0] if node.inputs else None
    if node.op_type == "Shape":
        dims = _dims(value)
        start, end = (
            node.attributes[name].as_int() if name in node.attributes else default
            for name, default in (("start", 0), ("end", None))
        )
        return None if dims is None else dims[slice(start, end)]
    if value is None or value not in sizes:
        return None
    dims = sizes[value]
    numbers = [_numbers(each) for each in node.inputs[1:]]
    if node.op_type == "Gather" and numbers[0] is not None and _rank(node.outputs[0]) is not None:
        return [dims[n] for n in numbers[0]]
    if node.op_type == "Slice" and all(each is not None for each in numbers):
        steps = numbers[3][0] if len(numbers) > 3 and numbers[3] else 1
        assert numbers[0] is not None
        assert numbers[1] is not None
        return dims[slice(numbers[0][0], numbers[1][0], steps)] if steps > 0 else None
    return dims if node.op_type == "Squeeze" and _rank(node.outputs[0]) is not None else None


def _numbers(value: ir.Value | None) -> list[int] | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else [int(number) for number in tensor.numpy().ravel()]
