"""What tracing has settled about the sizes of several axes, which must hold at all sizes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._sympy.functions import Mod, PythonMod

from rnn_edge.code_line import is_foreign
from rnn_edge.errors import ExportError

# Sizes at which a relation is tried: one that always holds is none.
_TRIED = (1, 2, 3, 4, 5, 7, 12, 60)
# torch asks these whether memory is contiguous, which changes no value.
_ABOUT_MEMORY = ("_prims_common", "_ops.py")


def refuse_relations(exported: ExportedProgram, symbols: Mapping[str, str]) -> None:
    """Raise ExportError where forward() went one of two ways for how axes relate to each other.

    ``symbols`` maps the program's symbols to the names of axes. What concerns one axis alone, as a
    smallest size, is left to the verification, but for whether a number divides it.
    """
    environment = find_environment(exported)
    for guard in environment.guards if environment is not None else ():
        assert environment is not None
        relation = _unify(environment.replace(guard.expr), symbols)
        place: Any = guard.sloc.framework_loc
        names = {s: symbols.get(str(s), "") for s in relation.free_symbols}
        axes = sorted(set(names.values()) - {""})
        if not _is_choice(relation, len(axes), getattr(place, "filename", str(place))):
            continue
        if is_always_true(relation) or (
            _says_no_less_than_nothing(relation) and not _is_own(place)
        ):
            continue
        text = str(relation.subs({s: sympy.Symbol(name) for s, name in names.items() if name}))
        where = f" at {Path(place.filename).name}:{place.lineno}" if _is_own(place) else ""
        raise ExportError(
            f"forward() must do the same whatever the sizes of {' and '.join(map(repr, axes))} "
            f"are, got a choice by {text}{where}. {_find_change(relation)}"
        )


def _unify(relation: sympy.Basic, symbols: Mapping[str, str]) -> sympy.Basic:
    """``relation`` with one symbol an axis: an axis of two inputs has two until they meet."""
    first: dict[str, sympy.Symbol] = {}
    for symbol in sorted(relation.free_symbols, key=str):
        first.setdefault(symbols.get(str(symbol)) or str(symbol), symbol)
    return relation.subs({s: first[symbols.get(str(s)) or str(s)] for s in relation.free_symbols})


def _find_change(relation: sympy.Basic) -> str:
    divisors = [str(rest.args[1]) for rest in relation.atoms(Mod, PythonMod)]
    if len(divisors) == 1:
        return (
            f"Fill up at all sizes, F.pad(x, (0, 0, 0, -x.size(1) % {divisors[0]})) say, which "
            "adds nothing where nothing is missing."
        )
    return "Pad, mask or use torch.sym_max and torch.sym_min in place of the comparison."


def find_environment(exported: ExportedProgram) -> ShapeEnv | None:
    for node in exported.graph.nodes:
        value = node.meta.get("val")
        for size in value.shape if isinstance(value, torch.Tensor) else ():
            if isinstance(size, torch.SymInt):
                environment: ShapeEnv = size.node.shape_env
                return environment
    return None


def _is_choice(relation: sympy.Basic, axes: int, file: str) -> bool:
    """Whether forward() may do something else where ``relation`` does not hold."""
    if any(part in file for part in _ABOUT_MEMORY):
        return False
    if axes > 1:
        return not isinstance(relation, sympy.Ne)  # equal sizes are one case of many
    return is_foreign(file) and relation.has(Mod, PythonMod)


def _says_no_less_than_nothing(relation: sympy.Basic) -> bool:
    """Whether ``relation`` is that of how many elements a tensor has: x[:, 2:] of one step has 0.

    torch, which takes its size for one less than none there, asks for that itself.
    """
    least = {">": -1, "<": -1, ">=": 0, "<=": 0}.get(getattr(relation, "rel_op", ""))
    return least is not None and relation.lts == least


def is_always_true(relation: sympy.Basic) -> bool:
    free = sorted(relation.free_symbols, key=str)
    if len(free) > 3:
        return False
    return all(
        holds(relation, dict(zip(free, sizes, strict=True)))
        for sizes in product(_TRIED, repeat=len(free))
    )


def holds(relation: sympy.Basic, sizes: Mapping[sympy.Symbol, int]) -> bool:
    """Whether ``relation`` is true at ``sizes``, or asks for what no tensor can have."""
    try:
        return bool(relation.subs(sizes) == sympy.true)
    except ZeroDivisionError:  # no tensor has these sizes
        return True


def _is_own(place: Any) -> bool:
    return is_foreign(getattr(place, "filename", "<"))
