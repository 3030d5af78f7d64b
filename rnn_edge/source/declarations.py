"""Inputs declared in words, ``x:float32[batch,sequence,40]``, and example arguments from them."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from rnn_edge.code_line import find_code_lines, is_foreign, shorten
from rnn_edge.errors import InputError
from rnn_edge.extras import import_extra

if TYPE_CHECKING:
    from torch import Tensor, nn

_FLOATS = ("float16", "float32", "float64")
_INTEGERS = ("int8", "uint8", "int16", "int32", "int64")
_DECLARATION = re.compile(
    r"(?P<place>[^\W\d]\w*(?:\.\w+)*):(?P<dtype>\w+)\[(?P<dims>[\w\s,]*)\](?:<(?P<bound>\d+))?"
)
_CONSTANT = re.compile(r"\s*(?P<place>[^\W\d]\w*(?:\.\w+)*)\s*=(?P<value>.*)", re.DOTALL)
_BATCH, _LENGTH = 2, 20

# A tensor, or a tuple or dict of such.
Nested: TypeAlias = Any


@dataclass(frozen=True)
class Declaration:
    """One input: ``place`` is ``("state", "0")`` for the first item of a tuple ``state``; ``dims``
    are names of axes and fixed sizes; integers are below ``bound``."""

    place: tuple[str, ...]
    dtype: str
    dims: tuple[str | int, ...]
    bound: int | None = None

    @property
    def name(self) -> str:
        """What the graph calls it."""
        return "_".join(self.place)

    @property
    def may_be_lengths(self) -> bool:
        return self.dtype in _INTEGERS and self.bound is None and len(self.dims) == 1

    def __str__(self) -> str:
        return f"{'.'.join(self.place)}:{self.dtype}[{','.join(map(str, self.dims))}]"


@dataclass(frozen=True)
class Constant:
    """An argument that is no tensor, the same in every call: ``reduce=mean``, ``scale=2.0``."""

    place: tuple[str, ...]
    value: object

    @property
    def may_be_lengths(self) -> bool:
        return False

    def __str__(self) -> str:
        return f"{'.'.join(self.place)}={self.value!r}"


@dataclass(frozen=True)
class Examples:
    """What ``rnn_edge.export`` needs beside the module: arguments of one call, their axes nested
    in the same way, and the smallest and largest value of bounded inputs."""

    args: tuple[Nested, ...]
    kwargs: dict[str, Nested]
    axes: dict[str, Nested]
    bounds: dict[str, tuple[float, float]]


def read_declaration(text: str) -> Declaration | Constant:
    """``name:dtype[dims]``, with ``<bound`` for ids, as a declaration; ``name=value``, a Python
    literal or else a string, as a constant. Raises InputError.
    """
    constant = _CONSTANT.fullmatch(text)
    if constant is not None:
        return Constant(tuple(constant["place"].split(".")), _literal(constant["value"].strip()))
    match = _DECLARATION.fullmatch("".join(text.split()))
    if match is None:
        raise InputError(
            "an input must be declared as name:dtype[dims], such as x:float32[batch,sequence,40] "
            "or tokens:int64[batch,sequence]<5000, or as name=value where it is no tensor, "
            f"got {text!r}. Correct it."
        )
    dims = tuple(int(d) if d.isdecimal() else d for d in match["dims"].split(",") if d)
    wrong = [d for d in dims if d == 0 or (isinstance(d, str) and not d.isidentifier())]
    if wrong or (match["dims"] and len(dims) != len(match["dims"].split(","))):
        raise InputError(
            f"a dim must be a name such as batch or a number above 0, got {match['dims']!r} in "
            f"{text!r}. Correct it."
        )
    dtype, bound = match["dtype"], int(match["bound"]) if match["bound"] else None
    if dtype not in (*_FLOATS, *_INTEGERS, "bool"):
        raise InputError(
            f"a dtype must be one of {', '.join((*_FLOATS, *_INTEGERS, 'bool'))}, got {dtype!r} "
            f"in {text!r}. Correct it."
        )
    if bound is not None and (dtype not in _INTEGERS or bound < 1):
        raise InputError(
            f"a bound must be above 0 and of an integer input, got {text!r}. Correct it."
        )
    return Declaration(tuple(match["place"].split(".")), dtype, dims, bound)


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def make_examples(module: nn.Module, declarations: Sequence[Declaration | Constant]) -> Examples:
    """Arguments that ``module``, in eval mode, was seen to take, sampled as declared.

    Integers without a bound are tried as 1 and 2, which are ids and lengths alike; where forward()
    refuses those, one-dimensional ones as lengths that reach the longest size.
    Raises InputError when the declarations do not fit forward(), or it refuses both.
    """
    torch = import_extra("torch")
    tried = [False, True] if any(d.may_be_lengths for d in declarations) else [False]
    refusals = []
    for with_lengths in tried:
        generator = torch.Generator().manual_seed(0)
        values = [
            d.value if isinstance(d, Constant) else _sample(d, with_lengths, generator)
            for d in declarations
        ]
        examples = _arrange(module, declarations, values)
        refusal = _try(module, examples)
        if refusal is None:
            return examples
        refusals.append(refusal)
    raise InputError(
        f"forward() of {type(module).__name__} must take the declared inputs "
        f"({', '.join(map(str, declarations))}), it raised {refusals[0]}. "
        "Correct the sizes, the dtypes or the bounds."
    )


def _sample(declaration: Declaration, as_lengths: bool, generator: Any) -> Tensor:
    torch = import_extra("torch")
    shape = tuple(
        dim if isinstance(dim, int) else _BATCH if dim == "batch" else _LENGTH
        for dim in declaration.dims
    )
    dtype = getattr(torch, declaration.dtype)
    if declaration.dtype in _FLOATS:
        values = torch.randn(shape, generator=generator)
    elif declaration.bound is not None or declaration.dtype == "bool":
        values = torch.randint(declaration.bound or 2, shape, generator=generator)
    elif as_lengths and declaration.may_be_lengths:
        # Falling, since pack_padded_sequence wants them so unless told otherwise.
        values = _LENGTH - torch.arange(shape[0]) * _LENGTH // (shape[0] + 1)
    else:
        # Neither 0, which many modules take for padding, nor beyond a small vocabulary.
        count = 1
        for size in shape:
            count *= size
        values = (1 + (torch.arange(count) + 1) % 2).reshape(shape)
    sampled: Tensor = values.to(dtype)
    return sampled


def _arrange(
    module: nn.Module, declarations: Sequence[Declaration | Constant], given: Sequence[Any]
) -> Examples:
    """What was ``given`` for each declaration in forward()'s positional and keyword arguments."""
    leaves = [(d.place, value) for d, value in zip(declarations, given, strict=True)]
    tensors = [d for d in declarations if isinstance(d, Declaration)]
    dims = {d.place: tuple(n if isinstance(n, str) else None for n in d.dims) for d in tensors}
    names = [(d.place, dims.get(d.place)) for d in declarations]
    values, axes = _nest(leaves, ""), _nest(names, "")
    signature = inspect.signature(module.forward)
    args = _take_positional(signature, values, axes)
    try:
        signature.bind(*args, **values)
    except TypeError as error:
        raise InputError(
            f"the inputs must fit forward({', '.join(signature.parameters)}) of "
            f"{type(module).__name__}, got: {error}. "
            "Name its parameters; those without a default need an --input each."
        ) from None
    bounds = {d.name: (0.0, float(d.bound - 1)) for d in tensors if d.bound is not None}
    return Examples(tuple(args), values, axes, bounds)


def _take_positional(
    signature: inspect.Signature, values: dict[str, Nested], axes: dict[str, Nested]
) -> list[Nested]:
    """Move what cannot be given by name out of ``values``; ``*xs`` are declared as xs.0, xs.1."""
    kinds = {name: parameter.kind for name, parameter in signature.parameters.items()}
    rest = [n for n, kind in kinds.items() if kind is inspect.Parameter.VAR_POSITIONAL]
    starred = next((name for name in rest if name in values), None)
    args: list[Nested] = []
    for name, kind in kinds.items():
        before_star = starred is not None and kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        if name in values and (kind is inspect.Parameter.POSITIONAL_ONLY or before_star):
            args.append(values.pop(name))
    if starred is not None:
        items = values.pop(starred)
        if not isinstance(items, tuple):
            raise InputError(
                f"*{starred} must be declared item by item, {starred}.0 and so on, "
                f"got {starred}. Number its inputs."
            )
        axes |= {f"{starred}_{place}": item for place, item in enumerate(axes.pop(starred))}
        args += items
    return args


def _nest(leaves: Sequence[tuple[tuple[str, ...], Any]], above: str) -> dict[str, Nested]:
    """Leaves by place as nested dicts, those with keys 0, 1, 2 ... as tuples."""
    children: dict[str, list[tuple[tuple[str, ...], Any]]] = {}
    for place, leaf in leaves:
        children.setdefault(place[0], []).append((place[1:], leaf))
    nested: dict[str, Nested] = {}
    for key, below in children.items():
        if all(place for place, _ in below):
            nested[key] = _as_tuple(_nest(below, f"{above}{key}."))
        elif len(below) == 1:
            nested[key] = below[0][1]
        else:
            raise InputError(f"{above}{key} must be declared once, got more. Remove the others.")
    return nested


def _as_tuple(items: dict[str, Nested]) -> Nested:
    if not any(key.isdecimal() for key in items):
        return items
    if sorted(items) != sorted(str(place) for place in range(len(items))):
        raise InputError(
            "the items of a tuple must be declared from 0 on without a gap, "
            f"got {', '.join(items)}. Number them 0, 1, 2 ..."
        )
    return tuple(items[str(place)] for place in range(len(items)))


def _try(module: nn.Module, examples: Examples) -> str | None:
    """Why a copy of ``module`` refuses the arguments; None when it takes them."""
    torch = import_extra("torch")
    from rnn_edge.capture.preparation import copy_module

    try:
        copied = copy_module(module).eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            copied(*examples.args, **examples.kwargs)
    except Exception as error:  # noqa: BLE001 (forward() is the user's: it may raise anything)
        lines = find_code_lines(error, is_foreign)
        where = f" at {lines[0]}" if lines else ""
        return f"{type(error).__name__}: {shorten(error, 200)}{where}"
    return None
