"""Where a graph leaves the module: the first recurrent layer, and the first time step in it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnn_edge.capture.arguments import Arguments
from rnn_edge.graphs.origin import MODULE_KEY
from rnn_edge.runtime.providers import runtime_errors
from rnn_edge.verification.sampling import Arrays
from rnn_edge.verification.tolerance import compare

_RECURRENT = ("RNN", "GRU", "LSTM")


@dataclass(frozen=True)
class LayerParity:
    """One recurrent layer: worst error, what was allowed, the first step that is off (or None)."""

    layer: str
    error: float
    tolerance: float
    first_wrong_step: int | None


@dataclass(frozen=True)
class _Expected:
    """The outputs of one layer, [sequence, batch, directions * hidden_size]."""

    own: np.ndarray
    truth: np.ndarray


def compare_layers(
    model_path: Path, module: nn.Module, arguments: Arguments, inputs: Arrays
) -> list[LayerParity]:
    """Every recurrent node of the graph against its layer of ``module``, in the graph's order.

    Each layer's truth is float64 torch, fed with what the eager module feeds it. Nodes that come
    from no nn.RNN, nn.LSTM or nn.GRU are left out, and those in a loop's body, whose outputs do
    not leave it; so is everything when the graph does not run.
    """
    model = ir.load(model_path)
    nodes = [node for node in model.graph if node.op_type in _RECURRENT]
    expected = _layer_outputs(module, arguments, inputs)
    found = _run_with_layer_outputs(model, nodes, inputs)
    numbers: dict[str, int] = {}
    parities = []
    for node in nodes:
        path = node.metadata_props.get(MODULE_KEY, "")
        number = numbers.get(path, 0)
        numbers[path] = number + 1
        layers = expected.get(path, [])
        if str(node.name) in found and number < len(layers):
            parities.append(_compare(str(node.name), found[str(node.name)], layers[number]))
    return parities


def _compare(name: str, y: np.ndarray, expected: _Expected) -> LayerParity:
    """``y`` is ONNX's: [sequence, directions, batch, hidden_size]."""
    steps = y.transpose(0, 2, 1, 3).reshape(y.shape[0], y.shape[2], -1)
    length = min(len(steps), len(expected.own))
    deviation = compare(steps[:length], expected.own[:length], expected.truth[:length])
    errors = np.abs(steps[:length] - expected.truth[:length]).max(axis=(1, 2))
    wrong = np.flatnonzero(~(errors <= deviation.tolerance))
    first = int(wrong[0]) if wrong.size else None
    return LayerParity(name, deviation.error, deviation.tolerance, first)


def _layer_outputs(
    module: nn.Module, arguments: Arguments, inputs: Arrays
) -> dict[str, list[_Expected]]:
    """The outputs of each layer of every nn.RNN, nn.LSTM and nn.GRU in ``module``, by its path."""
    outputs: dict[str, list[_Expected]] = {}
    hooks = []
    for path, part in module.named_modules():
        if isinstance(part, nn.RNNBase) and not part.proj_size:

            def keep(part: nn.RNNBase, given: tuple[Any, ...], _: Any, path: str = path) -> None:
                outputs[path] = _run_layer_by_layer(part, *given)

            hooks.append(part.register_forward_hook(keep))
    try:
        with torch.inference_mode():
            arguments.call(module, [torch.from_numpy(array) for array in inputs.values()])
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def _run_layer_by_layer(stack: nn.RNNBase, x: Any, hx: Any = None) -> list[_Expected]:
    lengths: Tensor | None = None
    if isinstance(x, PackedSequence):
        x, lengths = pad_packed_sequence(x)
    elif stack.batch_first:
        x = x.transpose(0, 1)
    if x.dim() == 2:
        x = x.unsqueeze(1)
    states = hx if isinstance(hx, tuple) else (hx,)
    layers = []
    for number in range(stack.num_layers):
        first, last = (part * (1 + stack.bidirectional) for part in (number, number + 1))
        own = [None if s is None else s.reshape(-1, *x.shape[1:2], s.shape[-1])[first:last]
               for s in states]  # fmt: skip
        exact = _run_layer(stack, number, x.double(), [_double(s) for s in own], lengths)
        x = _run_layer(stack, number, x, own, lengths)
        layers.append(_Expected(x.numpy(), exact.numpy()))
    return layers


def _run_layer(
    stack: nn.RNNBase,
    number: int,
    x: Tensor,
    states: Sequence[Tensor | None],
    lengths: Tensor | None,
) -> Tensor:
    """One layer of ``stack`` alone, in the dtype of ``x``."""
    options = {"nonlinearity": stack.nonlinearity} if isinstance(stack, nn.RNN) else {}
    kind: Any = type(stack)
    layer = kind(
        x.shape[-1], stack.hidden_size, bias=stack.bias, bidirectional=stack.bidirectional,
        dtype=x.dtype, **options,
    )  # fmt: skip
    weights = {
        name.replace(f"_l{number}", "_l0"): value
        for name, value in stack.state_dict().items()
        if name.removesuffix("_reverse").endswith(f"_l{number}")
    }
    layer.load_state_dict(weights)
    state = None if states[0] is None else (tuple(states) if len(states) > 1 else states[0])
    if lengths is None:
        y: Tensor = layer(x, state)[0]
        return y
    packed, _ = layer(pack_padded_sequence(x, lengths, enforce_sorted=False), state)
    return pad_packed_sequence(packed)[0]


def _double(state: Tensor | None) -> Tensor | None:
    return None if state is None else state.double()


def _run_with_layer_outputs(
    model: ir.Model, nodes: Sequence[ir.Node], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Y of ``nodes`` by the node's name; empty when there are none, or the graph does not run."""
    if not nodes:
        return {}
    names = []
    for node in nodes:
        value = node.outputs[0]
        value.name = value.name or f"{node.name}.Y"
        if value.type is None and node.inputs[0] is not None:
            value.type = node.inputs[0].type
        if not value.is_graph_output():
            model.graph.outputs.append(value)
        names.append((str(node.name), value.name))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        ir.save(model, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        try:
            arrays = session.run([output for _, output in names], dict(inputs))
        except runtime_errors():
            return {}
    return {name: array for (name, _), array in zip(names, arrays, strict=True)}
