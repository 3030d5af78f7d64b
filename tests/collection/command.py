"""`rnn-edge export` for a case: a Python file, a file of weights, and its inputs in words."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from collection.case import EXAMPLE_SIZES, Case, Input
from torch.utils import _pytree as pytree

_SOURCE = """
from collection.catalogue import CASES

make = CASES[{title!r}].make
"""


def export_command(title: str, case: Case, folder: Path) -> list[str]:
    """The arguments of `rnn-edge` that export ``case`` to ``folder / "bundle"``.

    ``title`` is its name in the catalogue. What the callable makes has other weights than the
    file, so that only the file can give the right answers.
    """
    source, weights = folder / "source.py", folder / "weights.pt"
    source.write_text(_SOURCE.format(title=title), encoding="utf-8")
    torch.save(case.module().state_dict(), weights)
    inputs = [f"--input={text}" for text in declare_inputs(case)]
    target = str(folder / "bundle")
    return ["export", f"{source}:make", "--weights", str(weights), *inputs, "--output", target]


def declare_inputs(case: Case) -> list[str]:
    """Every tensor of the arguments as ``place:dtype[dims]<bound``, in order; the rest as
    ``place=value``."""
    names = _arguments_by_name(case)
    tensors = iter(case.tensors(*EXAMPLE_SIZES))
    declared = []
    for path, leaf in pytree.tree_flatten_with_path(names)[0]:
        keys = (getattr(key, "key", getattr(key, "idx", None)) for key in path)
        place = ".".join(str(key) for key in keys)
        if not isinstance(leaf, Input):
            declared.append(f"{place}={leaf!r}")
            continue
        dtype = str(next(tensors).dtype).removeprefix("torch.")
        bound = f"<{leaf.bound}" if leaf.bound else ""
        declared.append(f"{place}:{dtype}[{','.join(map(str, leaf.dims))}]{bound}")
    return declared


def _arguments_by_name(case: Case) -> Mapping[str, Any]:
    bound = inspect.signature(case.module().forward).bind(*case.args, **case.kwargs)
    return dict(bound.arguments)
