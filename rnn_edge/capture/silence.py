"""Keep torch from telling a person what an ExportError says in one line."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr


@contextmanager
def quiet_logger(name: str, level: int = logging.ERROR) -> Iterator[None]:
    """Let the logger ``name`` report errors only, or what is of ``level`` at least."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def quiet_tracing() -> Iterator[None]:
    """Drop the graph that torch.export prints to stderr, and its warnings, when it refuses."""
    with (
        quiet_logger("torch.fx.experimental.symbolic_shapes"),
        # A call that fails is told of there as an error, also where another trace does without.
        quiet_logger("torch._subclasses.fake_tensor", logging.CRITICAL),
        redirect_stderr(io.StringIO()),
    ):
        yield
