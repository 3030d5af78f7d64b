"""Keep torch from telling a person what an ExportError says in one line."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr


@contextmanager
def quiet_logger(name: str) -> Iterator[None]:
    """Let the logger ``name`` report errors only."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def quiet_tracing() -> Iterator[None]:
    """Drop the graph that torch.export prints to stderr, and its warnings, when it refuses."""
    with quiet_logger("torch.fx.experimental.symbolic_shapes"), redirect_stderr(io.StringIO()):
        yield
