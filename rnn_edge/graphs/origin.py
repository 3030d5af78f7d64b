"""Where in a person's module a node comes from, as far as its file or the export knows it."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

import onnx_ir as ir

from rnn_edge.code_line import CodeLine, is_foreign

# The metadata entry that keeps the path of the torch module that a node came from.
MODULE_KEY = "rnn_edge.module"
# That of the first weights of a layer, as tracing calls them, until its module is known by them.
WEIGHTS_KEY = "rnn_edge.weights"

# What torch.onnx writes, and the key under which this process keeps what it read: no file has it.
_SCOPES = "pkg.torch.onnx.name_scopes"
_CLASSES = "pkg.torch.onnx.class_hierarchy"
_TRACE = "pkg.torch.onnx.stack_trace"
_KEPT = "rnn_edge.origin"
_LINE = re.compile(r'File "([^"]+)", line (\d+)')


@dataclass(frozen=True)
class Origin:
    """``path`` of the module, empty for the whole one; its class; ``net.py:12``. Empty: unknown."""

    path: str
    owner: str
    line: str

    def tell(self, told: str) -> str:
        """Where it is, for an error that has ``told`` some of it already; empty: unknown."""
        place = self.path or (f"the module itself ({self.owner}.forward)" if self.owner else "")
        parts = [f"in {place}"] if place and (not self.path or place not in told) else []
        return " ".join([*parts, *([f"at {self.line}"] if self.line else [])])


def read_origin(node: ir.Node, prefix: str = "") -> Origin:
    """What torch.onnx recorded; ``prefix`` stands before the paths of the module's own parts."""
    scopes, classes = (_listed(node, key) for key in (_SCOPES, _CLASSES))
    whole = ("", prefix.rstrip("."))
    path = owner = ""
    # The last one is the operator.
    for scope, name in zip(scopes[:-1], classes[:-1], strict=False):
        # What tracing adds of its own is called like its class.
        if scope != name and (scope in whole or scope.startswith(prefix)):
            path = "" if scope in whole else scope.removeprefix(prefix)
            owner = name.rpartition(".")[2]
    lines = [
        CodeLine(file, int(number))
        for file, number in _LINE.findall(node.metadata_props.get(_TRACE, ""))
    ]
    own = [line for line in lines if is_foreign(line.path)]
    return Origin(path, owner, str(own[-1]) if own else "")


def keep_origin(node: ir.Node, origin: Origin) -> None:
    """Let find_origin() know it as long as the process runs; it goes into no file."""
    node.meta[_KEPT] = origin


def find_origin(node: ir.Node) -> Origin:
    """What is known, by whichever way."""
    kept = node.meta.get(_KEPT)
    if isinstance(kept, Origin):
        return kept
    if MODULE_KEY in node.metadata_props:
        return Origin(node.metadata_props[MODULE_KEY], "", "")
    return read_origin(node)


def find_line(model: ir.Model, place: str, owner: str) -> str:
    """What computes the value, or is the node, called ``place``: an operator, its part, its line.

    Where its own line is not known, that of what it is computed from; empty: unknown. ``owner`` is
    the class of the whole module.
    """
    nodes = list(model.graph.all_nodes())
    found: ir.Node | None = next((n for n in nodes if n.name == place), None) or next(
        (n for n in nodes if any(value.name == place for value in n.outputs)), None
    )
    while found is not None:
        origin = find_origin(found)
        if origin.line:
            part = f"{owner}.{origin.path}" if origin.path else f"{owner}.forward"
            return f"{place!r} is computed by {found.op_type} in {part} at {origin.line}"
        found = next((v.producer() for v in found.inputs if v is not None and v.producer()), None)
    return ""


def _listed(node: ir.Node, key: str) -> list[str]:
    try:
        found = ast.literal_eval(node.metadata_props.get(key, "[]"))
    except (ValueError, SyntaxError):
        return []
    return [str(each) for each in found] if isinstance(found, list) else []


def describe_node(node: ir.Node) -> str:
    """``LSTM encoder.rnn``: the operator, and where in the module it comes from."""
    path = next(
        (
            str(value.name).rpartition(".")[0]
            for value in node.inputs
            if value is not None and value.is_initializer() and "." in str(value.name)
        ),
        "",
    )
    return f"{node.op_type} {path or node.name or node.outputs[0].name}"
