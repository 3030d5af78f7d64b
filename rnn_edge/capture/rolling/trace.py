"""A plain list of steps: what an exported program comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Place:
    """The result of step ``index``, or item ``item`` of it where it has several."""

    index: int
    item: int | None = None


@dataclass(frozen=True)
class Source:
    """What comes from outside of the steps: an input, a parameter, a buffer, a constant."""

    name: str


@dataclass(frozen=True)
class Step:
    """One operator with its arguments, nested as torch.fx nests them, nodes replaced by the above.

    ``line`` is where in the user's source it stands.
    """

    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    line: str = ""


@dataclass(frozen=True)
class Trace:
    """The steps, and what is returned; ``sources`` tells what each name stands for."""

    steps: tuple[Step, ...]
    returned: Any
    sources: dict[str, Any]
