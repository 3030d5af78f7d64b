"""Where a graph reads ids and tells of the next: language models are written in many forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from rnn_edge.contract import GraphContract, TensorSpec
from rnn_edge.errors import ExportError

BATCH = "batch"
# An output of this name is meant where several may be.
LOGITS = "logits"
_STEPS = "sequence"

# "flat" has the logits of all steps and rows one after the other, "last" those of the last step.
Steps = Literal["each", "flat", "last"]


@dataclass(frozen=True)
class Form:
    """How a graph takes ids and tells how likely each comes next.

    ``tokens`` is the input of ids, or of vectors of ``depth`` numbers with a 1 at the id's place;
    ``logits`` the output: logits, log-probabilities, or with ``probabilities`` these. ``axis`` is
    the axis of time, which a graph of a single step lacks. ``steps`` says of which steps it tells,
    behind ``lead`` of its own, and ``shift`` steps later than the id; ``others`` are read once for
    all steps, ``lengths`` say how many there are.
    """

    tokens: TensorSpec
    logits: TensorSpec
    axis: str
    steps: Steps = "each"
    others: tuple[TensorSpec, ...] = ()
    lengths: tuple[TensorSpec, ...] = ()
    depth: int | None = None
    probabilities: bool = False
    shift: int = 0

    @property
    def vocabulary(self) -> int:
        return _width(self.logits) or 0

    @property
    def largest(self) -> int:
        """The largest id that can be read."""
        size = self.depth or _size(self.tokens)
        return (self.vocabulary if size is None else size) - 1

    @property
    def lead(self) -> int:
        """How many steps of ``logits`` come before what the first id tells."""
        return max(_lead(dim, self.axis) or 0 for dim in self.logits.dims)

    @property
    def told(self) -> tuple[int | str, ...]:
        """The axes of ``logits``; those of all steps are the axis of time."""
        dims = self.logits.dims
        return tuple(dim if _lead(dim, self.axis) is None else self.axis for dim in dims)

    @property
    def unread(self) -> tuple[int, ...]:
        """Ids that have logits, but cannot be read."""
        return tuple(range(self.largest + 1, self.vocabulary))

    @property
    def places(self) -> tuple[int | str, ...]:
        """The axes of ``tokens``, without that of a vector."""
        dims = self.tokens.dims
        return dims if self.depth is None else dims[:-1]

    @property
    def single(self) -> bool:
        return self.axis not in self.tokens.dims

    @property
    def has_rows(self) -> bool:
        return BATCH in self.tokens.dims

    @property
    def time_first(self) -> bool:
        return [dim for dim in self.places if dim != 1] == [self.axis, BATCH]


def find_form(contract: GraphContract, axis: str | None) -> Form:
    """The form of a graph whose axis of time is ``axis``; None for a graph of a single step.

    Raises ExportError where it does not take an id a step and tell of the next.
    """
    reset = None if contract.stream is None else contract.stream.reset
    read = [
        spec for spec in contract.inputs
        if spec.name not in contract.state_inputs and spec.name != reset
    ]  # fmt: skip
    states = {pair.output for pair in contract.states}
    told = [spec for spec in contract.outputs if spec.name not in states]
    lengths = tuple(spec for spec in read if axis and spec.lengths_of == axis)
    timed = [spec for spec in read if axis in spec.dims] if axis else read
    ids = [spec for spec in timed if _is_read(spec, axis)]
    if (axis and len(timed) != 1) or not ids:
        raise _refusal(read, told)
    pairs = _likeliest_pairs(ids, [spec for spec in told if _tells(spec, axis)], axis)
    if not pairs:
        raise _refusal(read, told)
    if len(pairs) > 1:
        raise _ambiguity(pairs)
    tokens, logits = pairs[0]
    others = tuple(spec for spec in read if spec is not tokens and spec not in lengths)
    depth = None if _is_whole(tokens) else _width(tokens)
    steps = "last" if axis is None else _steps(logits, axis)
    return Form(tokens, logits, axis or _STEPS, steps, others, lengths, depth)


def _likeliest_pairs(
    ids: Sequence[TensorSpec], logits: Sequence[TensorSpec], axis: str | None
) -> list[tuple[TensorSpec, TensorSpec]]:
    """Inputs of ids with outputs of logits: those of equal size, of all steps, or so named."""
    pairs = [
        (given, told) for given, told in product(ids, logits)
        if _is_whole(given) or _width(given) == _width(told)
    ]  # fmt: skip
    tests = (
        lambda given, told: told.name == LOGITS,
        lambda given, told: (_size(given) or _width(given)) == _width(told),
        lambda given, told: axis is not None and _steps(told, axis) != "last",
    )
    for test in tests:
        pairs = [pair for pair in pairs if test(*pair)] or pairs
    return pairs


def _is_whole(spec: TensorSpec) -> bool:
    return spec.dtype.startswith(("int", "uint"))


def _size(spec: TensorSpec) -> int | None:
    """How many ids there are, where the contract bounds them."""
    return None if spec.maximum is None or not _is_whole(spec) else int(spec.maximum) + 1


def _width(spec: TensorSpec) -> int | None:
    """The one fixed size of a tensor above 1."""
    sizes = [dim for dim in spec.dims if isinstance(dim, int) and dim > 1]
    return sizes[0] if len(sizes) == 1 else None


def _lead(dim: int | str, axis: str | None) -> int | None:
    """0 for the axis of time, 1 where it has a step more in front; None for others."""
    if axis is None or isinstance(dim, int) or not dim.startswith(axis):
        return None
    more = dim.removeprefix(axis)
    if more.startswith("+") and more[1:].isdecimal():
        return int(more[1:])
    return None if more else 0


def _named(spec: TensorSpec) -> list[str]:
    return [dim for dim in spec.dims if isinstance(dim, str)]


def _is_read(spec: TensorSpec, axis: str | None) -> bool:
    """Whether this may be ids, or vectors of one each, of each row or of one."""
    names = _named(spec)
    if sorted(names) not in (sorted(n for n in (BATCH, axis) if n), [n for n in (axis,) if n]):
        return False
    if _is_whole(spec):
        return all(isinstance(dim, str) or dim == 1 for dim in spec.dims)
    return (
        spec.dtype.startswith("float")
        and _width(spec) is not None
        and (spec.dims[-1] == _width(spec))
    )


def _tells(spec: TensorSpec, axis: str | None) -> bool:
    names = [dim for dim in _named(spec) if dim != BATCH]
    rows = spec.dims.count(BATCH)
    steps = [dim for dim in names if _lead(dim, axis) is not None]
    whole = rows <= 1 and len(steps) == len(names) <= 1
    return (
        spec.dtype.startswith("float")
        and _width(spec) is not None
        and (whole or (axis is not None and _steps(spec, axis) == "flat"))
    )


def _steps(spec: TensorSpec, axis: str) -> Steps:
    names = _named(spec)
    if any(_lead(dim, axis) is not None for dim in names):
        return "each"
    flat = len(names) == 1 and sorted(names[0].split("*")) == sorted((BATCH, axis))
    return "flat" if flat and spec.dims[-1] == _width(spec) else "last"


def _refusal(read: Sequence[TensorSpec], told: Sequence[TensorSpec]) -> ExportError:
    fixed = [str(spec) for spec in read if _is_whole(spec) and _width(spec) is not None]
    change = f"Name the axis of time of {fixed[0]}, or generate" if fixed else "Generate"
    return ExportError(
        "a model that generates must read one id at each step, beside it what stays the same, and "
        "give logits of the next, float[batch, sequence, vocabulary], it takes "
        f"{', '.join(map(str, read))} and gives {', '.join(map(str, told))}. "
        f"{change} in the app."
    )


def _ambiguity(pairs: Sequence[tuple[TensorSpec, TensorSpec]]) -> ExportError:
    outputs = list(dict.fromkeys(str(told) for _, told in pairs))
    if len(outputs) > 1:
        return ExportError(
            f"one output of a model that generates must be its logits, {', '.join(outputs)} may "
            f"be. Name one of them {LOGITS!r} (--output-name, in the order of the outputs)."
        )
    inputs = list(dict.fromkeys(str(given) for given, _ in pairs))
    return ExportError(
        f"one input of a model that generates must be its ids, {', '.join(inputs)} may be. Bound "
        "each (a declaration with <SIZE), so that one has the size of the vocabulary."
    )
