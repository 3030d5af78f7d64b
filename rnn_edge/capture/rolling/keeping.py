"""Keep what forward() computes and does not use: the last iteration of a loop is then like others.

torch.export leaves out what nothing needs, such as the cell state after the last step. The last
iteration would lack those steps, and stand apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode, has_proxy_slot
from torch.overrides import TorchFunctionMode

_LIBRARY = torch.library.Library("rnn_edge_rolling", "DEF")
_LIBRARY.define("keep(Tensor x) -> ()")


@torch.library.register_fake("rnn_edge_rolling::keep", lib=_LIBRARY)
def _keep_shape(x: Tensor) -> None:
    return None


KEEP = torch.ops.rnn_edge_rolling.keep.default
# Without this torch.fx would drop the operator, since it gives nothing.
torch.fx.node.has_side_effect(KEEP)


class Keeping(TorchFunctionMode):
    """While active, notes the results that no torch call takes; ``keep`` then makes use of them."""

    def __init__(self) -> None:
        super().__init__()
        self._unused: dict[int, Tensor] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        found = list(_tensors(result))
        if found or result is None:
            for tensor in _tensors((args, kwargs)):
                self._unused.pop(id(tensor), None)
        self._unused.update((id(tensor), tensor) for tensor in found)
        return result

    def keep(self) -> None:
        """Use the results that are still unused, so that they stay in the traced graph."""
        unused, self._unused = self._unused, {}
        mode = get_proxy_mode()
        for tensor in unused.values():
            # torch makes some of its own on the way, for torch.LongTensor([2, 1]) say.
            if mode is None or has_proxy_slot(tensor, mode.tracer):
                KEEP(tensor)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
