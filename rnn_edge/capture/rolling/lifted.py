"""Tensors that forward() makes of plain numbers, which tracing lifts out of it as constants."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import torch
from torch.export import ExportedProgram

from rnn_edge.capture.rolling.trace import Place, Source, Step

_ATEN = torch.ops.aten


def read_constants(exported: ExportedProgram) -> dict[str, torch.Tensor]:
    """What forward() makes of plain numbers, by the name of its node."""
    return {name: exported.constants[target] for name, target in _lifted(exported).items()}


def has_values(constant: torch.Tensor) -> bool:
    return not any(isinstance(size, torch.SymInt) for size in constant.shape)


def as_empty(constant: torch.Tensor, exported: ExportedProgram, first: int) -> list[Step]:
    """torch.FloatTensor(x.size(0)): the steps, from step ``first`` on, that give its shape."""
    inputs = [node for node in exported.graph.nodes if node.op == "placeholder"]
    axes = {
        str(size): (Source(node.name), dim)
        for node in inputs
        if isinstance(node.meta.get("val"), torch.Tensor) and node.name not in _lifted(exported)
        for dim, size in enumerate(node.meta["val"].shape)
        if isinstance(size, torch.SymInt)
    }
    steps: list[Step] = []
    sizes: list[Any] = []
    for size in constant.shape:
        if isinstance(size, torch.SymInt) and str(size) in axes:
            steps.append(Step(_ATEN.sym_size.int, axes[str(size)], {}))
            sizes.append(Place(first + len(steps) - 1))
        else:
            sizes.append(int(size))
    return [*steps, Step(_ATEN.zeros.default, (tuple(sizes),), {"dtype": constant.dtype})]


def _lifted(exported: ExportedProgram) -> dict[str, str]:
    return exported.graph_signature.inputs_to_lifted_tensor_constants


def name_constant(constant: torch.Tensor) -> str:
    """The same name in every iteration and at every size."""
    values = constant.detach().cpu().contiguous()
    content = (str(values.dtype), tuple(values.shape), values.flatten().tolist())
    return f"c_{sha256(repr(content).encode()).hexdigest()[:16]}"


def as_numbers(constant: torch.Tensor) -> Step | None:
    """The step that makes ``constant`` of numbers that may follow the sizes and the iteration.

    torch.tensor(t), and lists as long as an axis is: [0] * n, range(n)[::-1].
    """
    if not has_values(constant) or not constant.numel() or constant.is_complex():
        return None
    values = constant.flatten()
    if bool((values == values[0]).all()):
        size = tuple(constant.shape)
        return Step(_ATEN.full.default, (size, values[0].item()), {"dtype": constant.dtype})
    if constant.dim() != 1 or constant.is_floating_point() or constant.dtype == torch.bool:
        return None
    step = int(values[1]) - int(values[0])
    if not step or bool((values.diff() != step).any()):
        return None
    ends = (int(values[0]), int(values[-1]) + step, step)
    return Step(_ATEN.arange.start_step, ends, {"dtype": constant.dtype})
