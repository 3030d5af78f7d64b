"""What forward() returns, nested as users nest it, as named tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from rnn_edge.errors import ExportError


def flatten_outputs(returned: Any) -> dict[str, Tensor]:
    """The tensors that forward() returned, in order, named after their place; None is left out.

    One tensor is ``output``; items of a tuple are ``output_0``, ``output_1_0``; those of a dict, a
    namedtuple or a dataclass have their keys.
    """
    if isinstance(returned, Tensor):
        return {"output": returned}
    outputs: dict[str, Tensor] = {}
    for path, leaf in pytree.tree_flatten_with_path(_unwrap(returned))[0]:
        if leaf is None:
            continue
        keys = [getattr(k, "idx", getattr(k, "key", getattr(k, "name", None))) for k in path]
        parts = ["output"] if not keys or isinstance(keys[0], int) else []
        name = "_".join([*parts, *(str(key) for key in keys)])
        if not isinstance(leaf, Tensor):
            raise ExportError(
                f"forward() must return tensors to be exported, got {type(leaf).__name__} at "
                f"{name}. Return a tensor there; unpack a packed sequence with pad_packed_sequence."
            )
        outputs[name] = leaf
    if not outputs:
        raise ExportError("forward() must return a tensor to be exported, got none. Return one.")
    return outputs


def _unwrap(returned: Any) -> Any:
    """Classes of the user's own as the plain containers that torch's pytree opens."""
    if isinstance(returned, Mapping):
        return {key: _unwrap(value) for key, value in returned.items()}
    if dataclasses.is_dataclass(returned) and not isinstance(returned, type):
        fields = dataclasses.fields(returned)
        return {field.name: _unwrap(getattr(returned, field.name)) for field in fields}
    if type(returned) in (list, tuple):
        return type(returned)(_unwrap(value) for value in returned)
    if isinstance(returned, tuple) and hasattr(returned, "_make"):
        return type(returned)._make(_unwrap(value) for value in returned)
    return returned
