"""Ctrl-C while training: stop between two steps, keep what was reached."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

import lightning


class Interrupted(BaseException):
    """Ctrl-C was pressed. Lightning answers KeyboardInterrupt itself, by leaving the process."""


class Interruption(lightning.Callback):
    """Within ``with``, turns SIGINT into Interrupted, never in the middle of a step, nor
    between the row of an epoch in the history and the state that belongs to it.

    A second Ctrl-C does not wait for the step. Must be the last callback. Outside the main
    thread, where Python delivers no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._held = False
        self._pending = False
        self._previous: Any = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def on_train_batch_start(self, *_: Any) -> None:
        self.hold()

    def on_train_batch_end(self, *_: Any) -> None:
        self._release()

    def on_train_epoch_end(self, *_: Any) -> None:
        self._release()

    def hold(self) -> None:
        """From here to the end of the step or the epoch, a first Ctrl-C waits."""
        self._held = True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, a first Ctrl-C waits until the end."""
        self.hold()
        try:
            yield
        finally:
            self._held = False
        self._release()

    def _release(self) -> None:
        self._held = False
        if self._pending:
            self._pending = False
            raise Interrupted

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._held and not self._pending:
            self._pending = True
        else:
            raise Interrupted
