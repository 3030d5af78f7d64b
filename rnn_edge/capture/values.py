"""The whole numbers in a tensor, as Python code takes them out: to pack, to mask, to pad.

A list of them, from ``lengths.tolist()``, is as long as the batch, which must stay dynamic. So it
stays a tensor in the clothes of a list: given back to torch it is that tensor, and max() and min()
of it are symbolic numbers. Only what takes its items one by one fixes its size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.symbolic_shapes import (
    free_symbols,
    free_unbacked_symbols,
    statically_known_true,
)
from torch.nn.utils.rnn import pack_sequence

from rnn_edge.capture.stand_in_code import StandInsNeededError, needs_stand_ins
from rnn_edge.errors import ExportError

_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class ValueList:
    """Stands for ``tensor.tolist()`` or ``tensor.numpy()`` of whole numbers in one axis."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __len__(self) -> int:
        return int(self.tensor.shape[0])

    def __iter__(self) -> Iterator[Any]:
        reduction = _find_reduction(sys._getframe(1).f_locals)
        if reduction is not None:
            yield reduction(self.tensor).item()
            return
        # sum() and sorted() are no code of Python: the caller is who calls them.
        if needs_stand_ins(sys._getframe(1)):
            raise StandInsNeededError(sys._getframe(1))
        for place in range(len(self)):
            yield self.tensor[place].item()

    def __getitem__(self, index: Any) -> Any:
        chosen = self.tensor[index]
        return chosen.item() if chosen.dim() == 0 else ValueList(chosen)

    def index(self, number: Any) -> Any:
        """The first place of ``number``, which must be there."""
        return (self.tensor == number).to(torch.int64).argmax().item()

    def max(self, *_: object, **__: object) -> Any:
        return self.tensor.max().item()

    def min(self, *_: object, **__: object) -> Any:
        return self.tensor.min().item()

    def tolist(self) -> ValueList:
        return self

    def copy(self) -> ValueList:
        return self

    def astype(self, _: object) -> ValueList:
        return self

    def __array__(self, *_: object, **__: object) -> Any:
        raise ExportError(
            "values of a tensor must stay in torch to be exported, got a numpy function on them. "
            "Use the torch function of that name on the tensor."
        )


def _find_reduction(caller: Mapping[str, Any]) -> Callable[[Tensor], Tensor] | None:
    """Whether max() or min() asks for the items: torch.export puts a function in their place."""
    elementwise = caller.get("tensor_callable")
    if elementwise is torch.maximum and caller.get("real_callable"):
        return torch.max
    return torch.min if elementwise is torch.minimum and caller.get("real_callable") else None


# What FakeTensor.tolist(), which is Python code, asks its tensor: the number of axes, and where
# that is 0, for the number. So a list can be given in the place of that number.
ASKED_BY_TOLIST = (Tensor.dim, Tensor.item)


def lists_values(caller_code: object) -> bool:
    """Whether a call comes from Tensor.tolist() of a tensor that is traced."""
    return caller_code is FakeTensor.tolist.__code__


def answer_tolist(asked: Callable[..., Any], tensor: Tensor) -> Any:
    if _is_list(tensor):
        return 0 if asked is Tensor.dim else ValueList(tensor)
    return asked(tensor)


def is_true(tensor: Tensor) -> Any:
    """bool() of ``tensor``, which stays symbolic: a relation between whole numbers."""
    return tensor.ne(0).to(torch.int64).item() > 0


def leave_torch(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The stand-in for Tensor.numpy()."""
    return ValueList(tensor) if _is_list(tensor) else tensor.numpy(*args, **kwargs)


def _is_list(tensor: Tensor) -> bool:
    return tensor.dim() == 1 and tensor.dtype in _WHOLE


def take_items(x: Tensor, index: Any) -> Tensor:
    """The stand-in for Tensor.__getitem__: slices whose ends may lie behind the end of ``x``.

    torch compares them with the size, which would settle for all sizes which of two is larger.
    """
    index = as_places(index)
    row = _take_row(x, index)
    if row is not None:
        return row
    if not isinstance(index, tuple):
        return x[_hold(index, x.shape[0])] if isinstance(index, slice) else x[index]
    if not all(isinstance(item, slice) for item in index):
        return x[index]
    for dim, item in enumerate(index):
        if is_known_at_run_time(item.stop) and item.start in (None, 0) and item.step in (None, 1):
            x = take_first(x, dim, item.stop)
            index = (*index[:dim], slice(None), *index[dim + 1 :])
    return x[tuple(map(_hold, index, x.shape))]


_WHOLE_ROW = "_rnn_edge_whole_row"


def _take_row(x: Tensor, index: Any) -> Tensor | None:
    """What is before an end that only a run knows, y[i, :length]; it knows what it was cut from."""
    *places, item = index if isinstance(index, tuple) else (index,)
    if not isinstance(item, slice) or item.start not in (None, 0) or item.step not in (None, 1):
        return None
    end: Any = item.stop.item() if isinstance(item.stop, Tensor) else item.stop
    if not is_known_at_run_time(end) or not all(isinstance(p, int | torch.SymInt) for p in places):
        return None
    whole = x[tuple(places)] if places else x
    row = take_first(whole, 0, end)
    setattr(row, _WHOLE_ROW, whole)
    return row


def find_whole_row(row: Tensor) -> Tensor | None:
    """What ``row`` is the beginning of, where only a run knows how much of it."""
    whole: Tensor | None = getattr(row, _WHOLE_ROW, None)
    return whole


def as_places(index: Any) -> Any:
    """``index``, a list of numbers that only a run knows as a tensor."""
    if isinstance(index, ValueList):
        return index.tensor
    if isinstance(index, list) and any(map(_is_value, index)):
        return torch.stack(
            [item if isinstance(item, Tensor) else torch.scalar_tensor(item, dtype=torch.int64)
             for item in index]
        )  # fmt: skip
    return index


def _is_value(item: Any) -> bool:
    return is_known_at_run_time(item) or _is_single(item)


def take_slice(
    x: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: Any = 1
) -> Tensor:
    """aten.slice, whose end may be known at run time alone."""
    if is_known_at_run_time(end) and start in (None, 0) and step == 1:
        return take_first(x, dim, end)
    return torch.ops.aten.slice.Tensor(x, dim, start, end, step)


def take_first(x: Tensor, dim: int, count: torch.SymInt) -> Tensor:
    """``count`` must be a size that ``x`` can give, as a length is: tracing cannot tell."""
    torch._check(count >= 0)
    torch._check(count <= x.shape[dim])
    return x.narrow(dim, 0, count)


def _hold(item: slice, size: Any) -> slice:
    """``item`` with ends that follow another size no further than ``size``."""
    return slice(_hold_end(item.start, size), _hold_end(item.stop, size), item.step)


def _hold_end(end: Any, size: Any) -> Any:
    if not isinstance(end, torch.SymInt) or is_known_at_run_time(end):
        return end
    others = free_symbols(end) - free_symbols(size)
    if not others or not statically_known_true(end >= 0):
        return end
    return torch.sym_min(end, size)


def is_known_at_run_time(number: Any) -> bool:
    return isinstance(number, torch.SymInt) and bool(free_unbacked_symbols(number))


def make_tensor(
    make: Callable[..., Tensor],
    data: Any,
    dtype: torch.dtype | None = None,
    device: Any = None,
    **kwargs: Any,
) -> Tensor:
    """The stand-in for torch.tensor() and its kin, which make numbers of symbolic sizes."""
    if isinstance(data, ValueList):
        return data.tensor.to(dtype=dtype or torch.int64, device=device)
    if isinstance(data, (list, tuple)) and data and all(map(_is_single, data)):
        return torch.stack(list(data)).to(dtype=dtype, device=device)
    if isinstance(data, (list, tuple)) and data and _is_symbolic(data):
        numbers = [torch.scalar_tensor(number, dtype=dtype or torch.int64) for number in data]
        return torch.stack(numbers).to(device=device)
    given = {"dtype": dtype, "device": device, **kwargs}
    return make(data, **{name: value for name, value in given.items() if value is not None})


def _is_single(item: Any) -> bool:
    return isinstance(item, Tensor) and item.dim() == 0


def _is_symbolic(data: Sequence[Any]) -> bool:
    """Whether tracing knows these whole numbers at the example's sizes only."""
    if not all(isinstance(number, (int, torch.SymInt)) for number in data):
        return False
    if any(isinstance(number, bool) for number in data):
        return False
    return sys._getframe(3).f_code is pack_sequence.__code__ or any(
        isinstance(number, torch.SymInt) for number in data
    )


def set_items(x: Tensor, index: Any, value: Any) -> None:
    """The stand-in for Tensor.__setitem__: slices whose ends only a run knows, mask[i, length:].

    What lies between such ends is chosen by position, so that no size depends on values.
    """
    index = as_places(index)
    items = index if isinstance(index, tuple) else (index,)
    places = [n for n, item in enumerate(items) if isinstance(item, slice) and _is_open(item)]
    whole = tuple(slice(None) if n in places else item for n, item in enumerate(items))
    if not places or not all(isinstance(item, _KEEPS_VIEWS) for item in whole):
        x[index] = value
        return
    target = x[whole]
    chosen = torch.ones((), dtype=torch.bool)
    for place in places:
        dim = _find_axis(whole, place, target.dim())
        if isinstance(value, Tensor) and not _spreads(value, dim - target.dim()):
            filled = _fill_up(value, items[place], dim - target.dim(), target.shape[dim])
            if filled is None:
                x[index] = value
                return
            value = filled
        inside = _lies_between(items[place], target.shape[dim])
        chosen = chosen & inside.reshape(-1, *[1] * (target.dim() - dim - 1))
    value = value if isinstance(value, Tensor) else torch.scalar_tensor(value, dtype=x.dtype)
    target.copy_(torch.where(chosen, value.to(x.dtype), target))


# What may stand in an index that gives a view.
_KEEPS_VIEWS = (int, torch.SymInt, slice, type(None), type(Ellipsis))


def _is_open(item: slice) -> bool:
    ends = (item.start, item.stop)
    return item.step in (None, 1) and any(
        isinstance(end, Tensor) or is_known_at_run_time(end) for end in ends
    )


def _find_axis(whole: tuple[Any, ...], place: int, rank: int) -> int:
    """The axis that item ``place`` leaves, from the end where an ellipsis stands before it."""
    if Ellipsis in whole[:place]:
        return rank - sum(not isinstance(item, (int, torch.SymInt)) for item in whole[place:])
    return sum(not isinstance(item, (int, torch.SymInt)) for item in whole[:place])


def _spreads(value: Tensor, dim: int) -> bool:
    """Whether ``value`` is the same along axis ``dim``, counted from the end."""
    return value.dim() < -dim or statically_known_true(value.shape[dim] == 1)


def _fill_up(value: Tensor, item: slice, dim: int, size: Any) -> Tensor | None:
    """``value``, as long as only a run knows, with something behind it up to ``size``."""
    if item.start not in (None, 0) or not is_known_at_run_time(value.shape[dim]):
        return None
    shape = list(value.shape)
    shape[dim] = size
    return torch.cat([value, value.new_zeros(shape)], dim).narrow(dim, 0, size)


def _lies_between(item: slice, size: Any) -> Tensor:
    """[size]: which positions ``item`` takes of an axis."""
    positions = torch.arange(size)
    inside = torch.ones_like(positions, dtype=torch.bool)
    if item.start is not None:
        inside = inside & (positions >= _count_from_start(item.start, size))
    if item.stop is not None:
        inside = inside & (positions < _count_from_start(item.stop, size))
    return inside


def _count_from_start(end: Any, size: Any) -> Tensor:
    if not isinstance(end, Tensor):
        end = torch.scalar_tensor(end, dtype=torch.int64)
    return torch.where(end < 0, end + size, end)
