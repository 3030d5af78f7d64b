"""State that a module keeps on itself between calls, given to it and taken from it by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from rnn_edge.errors import ExportError


@dataclass(frozen=True)
class StateSlot:
    """One tensor on the module; ``initial`` is what all of it is when a sequence starts."""

    name: str
    initial: float

    @property
    def output(self) -> str:
        return f"{self.name}_n"


@dataclass(frozen=True)
class SizeOfAxis:
    """A number on the module that is the size of axis ``dim`` of the call's tensor ``argument``."""

    argument: int
    dim: int


@dataclass(frozen=True)
class HeldAttribute:
    """One attribute or buffer of the part at ``path``.

    ``value`` is nested as the module nests it, with StateSlots and SizeOfAxis among its leaves;
    ABSENT for an attribute that is not there before a call.
    """

    path: str
    name: str
    value: Any

    @property
    def key(self) -> tuple[str, str]:
        return self.path, self.name

    def leaves(self) -> list[Any]:
        leaves: list[Any] = pytree.tree_leaves(self.value)
        return leaves

    def slots(self) -> list[StateSlot]:
        return [leaf for leaf in self.leaves() if isinstance(leaf, StateSlot)]


@dataclass(frozen=True)
class KeptState:
    """The attributes that forward() changes. What is no slot is given to every call as it was."""

    attributes: tuple[HeldAttribute, ...] = ()

    @property
    def slots(self) -> tuple[StateSlot, ...]:
        return tuple(slot for attribute in self.attributes for slot in attribute.slots())

    @contextmanager
    def held(
        self, module: nn.Module, tensors: Sequence[Tensor], given_to_call: Sequence[Tensor]
    ) -> Iterator[Callable[[], dict[str, Tensor]]]:
        """Put ``tensors`` into the slots; yields what reads the new ones, by output name.

        Afterwards the attributes are what they were before.
        """
        given = dict(zip(self.slots, tensors, strict=True))
        with ExitStack() as stack:
            for attribute in self.attributes:
                part = module.get_submodule(attribute.path)
                home, before = find_attribute(part, attribute.name)
                stack.callback(_put_back, part, attribute.name, home, before)
                if attribute.value is ABSENT:
                    home.pop(attribute.name, None)
                else:
                    home[attribute.name] = _fill(attribute.value, given, given_to_call)
            yield lambda: {
                slot.output: tensor
                for attribute in self.attributes
                for slot, tensor in _read(module, attribute)
            }


ABSENT = object()


class Unread:
    """Stands in for what forward() leaves on the module and need not read: a counter, a history.

    It can be added to and written into; whatever else is done with it raises ExportError.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def _stay(self, *_: object) -> Unread:
        return self

    def refuse(self, *_: object) -> NoReturn:
        raise ExportError(
            f"what forward() changes on the module and reads must be tensors of one size to be "
            f"exported, self.{self._name} is not. Take the state as an argument and return the "
            "new one."
        )

    append = extend = clear = __add__ = __radd__ = __sub__ = __setitem__ = _stay
    __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = refuse
    __mod__ = __rmod__ = __pow__ = __rpow__ = __rsub__ = __neg__ = __getitem__ = refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = refuse
    __bool__ = __index__ = __int__ = __float__ = __len__ = __iter__ = refuse

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.refuse()


class Settled(Unread):
    """Stands in for a number that the first call alone has changed: ``number`` since then."""

    def __init__(self, name: str, number: float) -> None:
        super().__init__(name)
        self.number = number


def find_attribute(part: nn.Module, name: str) -> tuple[dict[str, Any], Any]:
    """(where the attribute is kept, its value)."""
    homes: tuple[dict[str, Any], ...] = (part._buffers, part._parameters, part.__dict__)
    home = next((home for home in homes if name in home), part.__dict__)
    return home, home.get(name, ABSENT)


def _put_back(part: nn.Module, name: str, home: dict[str, Any], value: Any) -> None:
    # forward() may have kept it elsewhere: a parameter that is set becomes one of the part's.
    now, _ = find_attribute(part, name)
    if now is not home or value is ABSENT:
        now.pop(name, None)
    if value is not ABSENT:
        home[name] = value


def _fill(value: Any, given: Mapping[StateSlot, Tensor], given_to_call: Sequence[Tensor]) -> Any:
    """``value`` with tensors in its slots; all are copies, since forward() may write into them."""

    def fill(leaf: Any) -> Any:
        if isinstance(leaf, StateSlot):
            leaf = given[leaf]
        elif isinstance(leaf, SizeOfAxis):
            leaf = given_to_call[leaf.argument].shape[leaf.dim]
        return leaf.clone() if isinstance(leaf, Tensor) else leaf

    return pytree.tree_map(fill, value)


def _read(module: nn.Module, attribute: HeldAttribute) -> Iterator[tuple[StateSlot, Tensor]]:
    if not attribute.slots():
        return
    _, value = find_attribute(module.get_submodule(attribute.path), attribute.name)
    leaves, structure = pytree.tree_flatten(value)
    expected, form = pytree.tree_flatten(attribute.value)
    path = f"{attribute.path}.{attribute.name}".lstrip(".")
    if structure != form:
        raise ExportError(
            f"state on the module must keep its form to be exported, self.{path} was "
            f"{_form(form)} and becomes {_form(structure)}. "
            "Take the state as an argument and return the new one."
        )
    for slot, leaf in zip(expected, leaves, strict=True):
        if isinstance(slot, StateSlot):
            if not isinstance(leaf, Tensor):
                raise ExportError(
                    f"state on the module must stay a tensor to be exported, self.{path} becomes "
                    f"{type(leaf).__name__}. Take the state as an argument and return the new one."
                )
            yield slot, leaf.detach()


def _form(structure: pytree.TreeSpec) -> str:
    if structure.is_leaf():
        return "one tensor"
    return f"{getattr(structure.type, '__name__', structure.type)} of {structure.num_leaves}"
