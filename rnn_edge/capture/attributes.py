"""What forward() leaves on the module: found, and put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Node

from rnn_edge.errors import ExportError


@contextmanager
def watching_attributes(module: nn.Module) -> Iterator[list[str]]:
    """Yields a list that names, in the end, the attributes that were set meanwhile.

    They are put back as they were. torch's own do not count, nor do buffers.
    """
    # By its dictionary: where parts are shared, tracing wraps each anew at every look.
    before = {id(vars(part)): _plain(part) for part in module.modules()}
    changed: list[str] = []
    try:
        yield changed
    finally:
        for path, part in module.named_modules():
            after, at_first = _plain(part), before[id(vars(part))]
            for name in sorted({*at_first, *after}):
                if after.get(name, _ABSENT) is not at_first.get(name, _ABSENT):
                    changed.append(f"{path}.{name}".lstrip("."))
                    _put_back(part, name, at_first.get(name, _ABSENT))


def refuse_kept_state(names: Iterable[str]) -> None:
    """Raise ExportError when forward() leaves state, ``names``, on the module.

    What one call leaves for the next has no place in a graph but inputs and outputs.
    """
    kept = [f"self.{name}" for name in names]
    if kept:
        raise ExportError(
            f"forward() must not leave state on the module to be exported, it sets "
            f"{', '.join(kept)}. Take the state as an argument and return the new one."
        )


def find_changed_buffers(exported: ExportedProgram) -> list[str]:
    """The buffers that the program writes into, directly or through a view."""
    buffers = exported.graph_signature.inputs_to_buffers
    changed: dict[str, None] = {}
    for node in exported.graph.nodes:
        if isinstance(node.target, OpOverload) and node.target._schema.is_mutable:
            written = node.args[0] if node.args else None
            while isinstance(written, Node) and written.op == "call_function":
                written = written.args[0]
            if isinstance(written, Node) and written.name in buffers:
                changed[buffers[written.name]] = None
    return list(changed)


_ABSENT = object()


def own_attributes(part: nn.Module) -> dict[str, Any]:
    """What the author of ``part`` keeps on it: plain attributes and buffers."""
    return _plain(part) | dict(part._buffers.items())


def _plain(part: nn.Module) -> dict[str, Any]:
    by_torch = type(part).__module__.startswith("torch.")
    return {
        name: value
        for name, value in vars(part).items()
        if name not in _OWN_TO_TORCH and not (by_torch and name.startswith("_"))
    }


# The bookkeeping of nn.Module, and the weights that recurrent layers have in a list.
_OWN_TO_TORCH = frozenset(
    name for part in (nn.Module(), nn.LSTM(1, 1)) for name in vars(part) if name.startswith("_")
) | {"training"}


def _put_back(part: nn.Module, name: str, value: Any) -> None:
    if value is _ABSENT:
        del part.__dict__[name]
    else:
        part.__dict__[name] = value
