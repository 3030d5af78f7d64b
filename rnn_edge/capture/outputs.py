"""What forward() returns, nested as users nest it, as named tensors."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from rnn_edge.errors import ExportError


def flatten_outputs(returned: Any) -> dict[str, Tensor]:
    """The tensors that forward() returned, in order, named after their place; None is left out.

    One tensor is ``output``; items of a tuple are ``output_0``, ``output_1_0``; those of a dict or
    a namedtuple have their keys.
    """
    if isinstance(returned, Tensor):
        return {"output": returned}
    outputs: dict[str, Tensor] = {}
    for path, leaf in pytree.tree_flatten_with_path(returned)[0]:
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
