"""Complex arithmetic as that of real and imaginary parts, since ONNX's nodes know real tensors.

A traced program is run again with a pair of real tensors in the place of each complex one. What
comes out is a program of real operators, whose loops are rolled and whose nodes are written as any.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Interpreter, Node

from rnn_edge.capture.arguments import Arguments
from rnn_edge.capture.complex_rules import RULES, Pair, apply_to_both, is_linear
from rnn_edge.capture.fourier import RULES as TRANSFORMS
from rnn_edge.capture.fourier import SHORT_TIME
from rnn_edge.capture.rolling.functional import decompose_writes
from rnn_edge.errors import ExportError

ALL_RULES = {**RULES, **TRANSFORMS}
# What ends complex numbers, and what torch.onnx does to those of a spectrogram.
_ENDS = (
    torch.ops.aten.abs.default,
    torch.ops.aten.real.default,
    torch.ops.aten.imag.default,
    torch.ops.aten.view_as_real.default,
    torch.ops.aten.sym_size.int,
)


def can_be_real(exported: ExportedProgram) -> bool:
    """Whether ``exported`` computes with complex numbers, and by operators that have a rule.

    Others are left to torch.onnx, and so is a spectrogram, for which ONNX has an operator.
    """
    used = [node for node in exported.graph.nodes if _has_complex(node) and node.users]
    if not used or not all(map(_has_rule, exported.graph.nodes)):
        return False
    sources = [node for node in used if not any(map(_has_complex, node.all_input_nodes))]
    return not all(node.target in SHORT_TIME for node in sources) or _goes_on(used)


def _goes_on(used: list[Node]) -> bool:
    """Whether complex numbers do more than end as sizes, angles and parts."""
    users = {user for node in used for user in node.users}
    return any(user.target not in _ENDS and not is_linear(user.target) for user in users)


def _has_rule(node: Node) -> bool:
    if node.op != "call_function" or node.target is operator.getitem or _is_check(node):
        return True
    if not any(map(_has_complex, [node, *node.all_input_nodes])):
        return True
    return node.target in ALL_RULES or is_linear(node.target)


def _is_check(node: Node) -> bool:
    return "_assert" in str(node.target)


def _has_complex(node: Node) -> bool:
    value = node.meta.get("val")
    values = value if isinstance(value, (list, tuple)) else (value,)
    return any(isinstance(each, Tensor) and each.is_complex() for each in values)


def refuse_complex_arguments(arguments: Arguments) -> None:
    for argument in arguments.tensors:
        if argument.example.is_complex():
            raise ExportError(
                f"inputs must be real numbers to be exported, {argument.name!r} is complex. Take "
                "torch.view_as_real() of it, and view_as_complex() in forward()."
            )


class RealForward(nn.Module):
    """Runs ``exported`` on real tensors alone; ``traced`` holds its parameters by their names."""

    def __init__(self, exported: ExportedProgram, traced: nn.Module) -> None:
        super().__init__()
        self.module = traced.get_submodule("module")
        self._exported = decompose_writes(exported)
        # Constants of the program: what is traced after this one knows the module's own weights.
        self._parts = {
            name: Pair(tensor.detach().real.clone(), tensor.detach().imag.clone())
            for name, tensor in self._read_held()
            if tensor.is_complex()
        }

    def _read_held(self) -> Iterator[tuple[str, Tensor]]:
        """(name of the placeholder, tensor) of weights and of constants."""
        signature = self._exported.graph_signature
        for name, path in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items():
            yield name, operator.attrgetter(path)(self)
        for name, constant in signature.inputs_to_lifted_tensor_constants.items():
            yield name, self._exported.constants[constant]

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        given: dict[str, Any] = dict(self._read_held())
        given |= zip(self._exported.graph_signature.user_inputs, tensors, strict=True)
        given |= self._parts
        placeholders = [n for n in self._exported.graph.nodes if n.op == "placeholder"]
        run = _Run(self._exported.graph_module, garbage_collect_values=False)
        values = [given[node.name] for node in placeholders]
        returned = list(run.run(*values, enable_io_processing=False))
        if any(isinstance(value, Pair) for value in returned):
            raise ExportError(
                "what forward() returns must be real numbers to be exported, got complex ones. "
                "Return torch.view_as_real() of them."
            )
        return returned


class _Run(Interpreter):
    def run_node(self, n: Node) -> Any:
        if n.op != "call_function" or n.target is operator.getitem:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if not _has_complex(n) and not _holds_pair((args, kwargs)):
            return super().run_node(n)
        target: Callable[..., Any] = n.target  # type: ignore[assignment]
        if _is_check(n):
            return None
        return ALL_RULES.get(target, apply_to_both)(target, *args, **kwargs)


def _holds_pair(value: Any) -> bool:
    if isinstance(value, Pair):
        return True
    if isinstance(value, dict):
        value = tuple(value.values())
    return isinstance(value, (list, tuple)) and any(map(_holds_pair, value))
