"""torch.onnx's translation of an exported program, its table of operators built once a process.

torch.onnx.export reads the sources of all its five hundred translations anew at each call, which
is most of what a small export takes.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from rnn_edge.capture.decomposition import is_translatable
from rnn_edge.capture.size_arithmetic import rewrite_size_arithmetic
from rnn_edge.capture.translation import TRANSLATIONS

# Read by every onnxruntime of the last years, web and mobile builds included.
OPSET = 18

_TYPES = {
    torch.float16: ir.DataType.FLOAT16,
    torch.float32: ir.DataType.FLOAT,
    torch.float64: ir.DataType.DOUBLE,
}


def to_onnx(exported: ExportedProgram) -> torch.onnx.ONNXProgram:
    """Translate ``exported``. Raises torch.onnx.OnnxExporterError."""
    registry = _registry()
    if registry is None:
        program = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table=TRANSLATIONS,
            optimize=False,
            verbose=False,
        )
        assert program is not None
        return program
    from torch.onnx._internal.exporter import _core

    with _taking_apart_what_must_be(registry):
        program = _core.export(
            exported, (), None, registry=registry, dynamic_shapes=None, input_names=None,
            output_names=None, optimize=False, opset_version=OPSET, verbose=False,
        )  # fmt: skip
    _keep_types(program.model, exported)
    return program


@contextmanager
def _taking_apart_what_must_be(registry: Any) -> Iterator[None]:
    """Let torch.onnx take programs apart only where an operator has no translation.

    It builds a table of all that torch knows to take apart at each export, which is a quarter of
    what that of a small model takes. Programs of other threads are left to it.
    """
    from torch.onnx._internal.exporter import _fx_passes

    usual = _fx_passes.decompose_with_registry
    known = {entries[0].fx_target for entries in registry.functions.values()}

    own = threading.get_ident()

    def take_apart(program: ExportedProgram, registry: Any) -> ExportedProgram:
        if threading.get_ident() != own:
            return usual(program, registry)
        whole = program if is_translatable(program, known) else usual(program, registry)
        rewrite_size_arithmetic(whole.graph_module)
        return whole

    _fx_passes.decompose_with_registry = take_apart  # type: ignore[assignment]
    try:
        yield
    finally:
        _fx_passes.decompose_with_registry = usual


def _keep_types(model: ir.Model, exported: ExportedProgram) -> None:
    """Give each output the type that it has in ``exported``.

    torch computes some of float16 in float32 and casts the answer, which torch.onnx leaves out
    where the answer is an output.
    """
    (returned,) = exported.graph.find_nodes(op="output")
    for place, (value, node) in enumerate(zip(model.graph.outputs, returned.args[0], strict=True)):
        tensor = node.meta.get("val") if isinstance(node, Node) else None
        if not isinstance(tensor, Tensor) or value.dtype is None:
            continue
        dtype = _TYPES.get(tensor.dtype)
        if dtype in (None, value.dtype):
            continue
        cast = ir.node("Cast", [value], {"to": dtype})
        found = cast.outputs[0]
        found.dtype, found.shape = dtype, value.shape
        model.graph.append(cast)
        model.graph.outputs[place] = found


@functools.cache
def _registry() -> Any:
    """The table, ours included; None where this torch keeps it elsewhere."""
    try:
        from torch.onnx._internal.exporter import _constants, _core, _fx_passes, _registration

        registry = _registration.ONNXRegistry.from_torchlib(
            opset_version=max(OPSET, _constants.TORCHLIB_OPSET)
        )
        for operator, translation in TRANSLATIONS.items():
            registry.register_op(operator, translation, is_complex=False)
        called = (_core.export, _fx_passes.decompose_with_registry)
    except (ImportError, AttributeError, TypeError):
        return None
    return registry if all(map(callable, called)) else None
