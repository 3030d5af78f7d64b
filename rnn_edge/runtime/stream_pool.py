"""Many independent streams over one session: those that are ready run together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock, RLock
from typing import Any

import numpy as np

from rnn_edge.bundle import Bundle
from rnn_edge.contract import AxisLimits, GraphContract
from rnn_edge.errors import InputError
from rnn_edge.runtime.pool_chunks import FEWEST_ALIKE, ChunkChecks, Stream
from rnn_edge.runtime.pool_quick import QuickPool
from rnn_edge.runtime.stream_block import Block, Row, Task
from rnn_edge.runtime.stream_engine import choose_engine
from rnn_edge.runtime.stream_graph import StreamGraph


class StreamPool:
    """Streams that come, go and reset at any time; ready ones share a run, up to ``max_batch``.

    ``source``, ``provider``, ``threads`` and ``trusted`` are as for StreamSession. Each stream is
    as a StreamSession of batch 1: chunks, outputs and states keep a batch axis of 1. An LSTM's and
    a GRU's answers are bit for bit those of a stream that runs alone. Streams share a run when
    their chunks have one length and their contexts one size; where rows must be in step, those at
    the same step do. Where the same streams are ready each time, four of a small model cost 0.6 of
    separate StreamSessions, and as much as those where they change; many streams, or a hidden size
    of 256, gain several times over.

    ``engine`` is as for StreamSession: "c" computes the rows of a run one after the other, which is
    the fastest for small models; of large ones ONNX Runtime reads the weights once for all rows.

    All methods may be called from any thread; ``push`` does not wait for a run in progress. After
    an InputError, streams are as they were. Raises what StreamSession raises.
    """

    def __init__(
        self,
        source: Bundle | str | Path,
        provider: str = "cpu",
        *,
        max_batch: int = 64,
        threads: int | None = 1,
        trusted: bool = False,
        engine: str = "onnxruntime",
    ) -> None:
        if not isinstance(max_batch, int) or max_batch < 1:
            raise InputError(
                f"max_batch must be a whole number of at least 1, got {max_batch!r}. Raise it."
            )
        self._graph = StreamGraph(source, provider, threads, trusted)
        self._form = form = self._graph.form
        self._make_rows = choose_engine(engine, source, self._graph)
        form.check_rows(1)
        limits = form.contract.axes.get(str(form.batch), AxisLimits())
        # Without an axis of rows in the file, every stream runs alone.
        self._shares = isinstance(form.batch, str) and (
            form.in_step or all(form.row_axis(spec) is not None for spec in form.outputs)
        )
        self._most = min(max_batch, limits.maximum or max_batch)
        self._streams: dict[int, Stream] = {}
        self._joining: list[Stream] = []
        self._blocks: dict[Hashable, Block] = {}
        self._finished: dict[int, list[np.ndarray]] = {}
        self._next = 0
        self._chunks = ChunkChecks(self._graph)
        # Runs the chunks of one more push_many; nothing may have come between.
        self._quick: QuickPool | None = None
        # The same of one more run_ready, where no stream has come or gone.
        self._again: QuickPool | None = None
        # Taken in this order: runs and rows, then queues and the list of streams.
        self._running = RLock()
        self._lock = Lock()

    @property
    def contract(self) -> GraphContract:
        """The tensors, axes, states and stream rule of the graph."""
        return self._form.contract

    @property
    def latency(self) -> int:
        """How many frames the answers lie behind the frames pushed."""
        return self._form.rule.latency

    @property
    def streams(self) -> list[int]:
        """The streams that are open, in the order they were opened."""
        with self._lock:
            return list(self._streams)

    def __len__(self) -> int:
        return len(self._streams)

    def open(
        self, state: Mapping[str, Any] | None = None, context: Mapping[str, Any] | None = None
    ) -> int:
        """Start a stream and give its number; ``state`` is what another one's ``state`` gave.

        ``context`` holds the inputs that belong to the whole sequence, each with a batch of 1; a
        state holds them too.
        """
        form, state = self._form, state or {}
        names = {spec.name for spec in form.context}
        given = {**{n: a for n, a in state.items() if n in names}, **(context or {})}
        arrays = form.checked_context(given, 1)
        sizes = form.sizes(1, arrays)
        states = form.checked_states(state, sizes) if state else form.initial_states(sizes)
        flags = states.pop(form.rule.reset or "", None)
        fresh = not state if flags is None else bool(flags.all())
        shared = {
            pair.input: states.pop(pair.input).copy()
            for pair in form.states
            if pair.batch_axis is None
        }
        with self._lock:
            number, self._next = self._next, self._next + 1
            row = Row(
                number,
                arrays,
                {name: array.copy() for name, array in states.items()},
                shared,
                fresh,
                None if fresh else number,
            )
            stream = Stream(row, self._kind(row), sizes)
            self._quick = self._again = None
            self._streams[number] = stream
            self._joining.append(stream)
        return number

    def push(self, stream: int, *chunk: Any) -> None:
        """Queue the next chunk of a stream, copied: ``push(id, array, ...)`` or by name."""
        arrays = self._chunks.check(self._known(stream), chunk)
        with self._lock:
            found = self._streams.get(stream)
            if found is None:
                raise _unknown(stream)
            self._quick = None
            found.queue.append((arrays, found.start))
            found.start = False

    def run_ready(self) -> dict[int, list[np.ndarray]]:
        """Run one chunk of every stream that has one; the outputs that are no state, by stream.

        Chunks that wait behind it stay for the next call; {} when there is none. When the runtime
        refuses a chunk, that chunk is dropped and InputError raised; what the others gave comes
        with the next call.
        """
        with self._running:
            with self._lock:
                ready = [stream for stream in self._streams.values() if stream.queue]
                tasks = [Task(stream.row, *stream.queue.popleft()) for stream in ready]
            again = self._run_again(tasks)
            if again is not None:
                return again
            finished, self._finished = self._finished, {}
            # A stream whose answer is still to be fetched has its turn after that.
            late = [task for task in tasks if task.row.id in finished]
            self._put_back(late)
            tasks = [task for task in tasks if task.row.id not in finished]
            answers, refused = self._run(tasks)
            finished |= answers
            if refused:
                self._finished = finished
                raise refused[0]
            self._again = self._way_of(tasks)
            return finished

    def _run_again(self, tasks: Sequence[Task]) -> dict[int, list[np.ndarray]] | None:
        """Run these as those of the run_ready before, where nothing else is to be done."""
        if self._again is None or self._finished or any(task.start for task in tasks):
            return None
        return self._again({task.row.id: task.chunk[0] for task in tasks})

    def push_many(self, chunks: Mapping[int, Any]) -> dict[int, list[np.ndarray]]:
        """Run one chunk of each of these streams now, and give their outputs by stream.

        A chunk is an array, a tuple of arrays in the contract's order or a mapping by name. Nothing
        runs when one of them does not fit, or when a stream has chunks that wait.
        """
        with self._running:
            again = self._quick
            if again is not None:
                answers = again(chunks)
                if answers is not None:
                    return answers
        return self._push_checked(chunks)

    def _push_checked(self, chunks: Mapping[int, Any]) -> dict[int, list[np.ndarray]]:
        """As ``push_many``, with every check that has a message."""
        checked = self._chunks.check_alike(self._streams, chunks)
        alike = checked is not None and not self._form.in_step and not self._form.shared_chunk
        if checked is None:
            checked = {}
            for number, chunk in chunks.items():
                given = chunk if isinstance(chunk, tuple) else (chunk,)
                checked[number] = self._chunks.check(self._known(number), given, copy=False)
        with self._running:
            with self._lock:
                tasks = []
                for number, arrays in checked.items():
                    stream = self._streams.get(number)
                    if stream is None:
                        raise _unknown(number)
                    if stream.queue or number in self._finished:
                        raise InputError(
                            f"stream {number} must have no chunks that wait, it has. "
                            "Call run_ready() until it gives {}."
                        )
                    tasks.append(Task(stream.row, arrays, stream.start))
                for number in checked:
                    self._streams[number].start = False
                self._quick = None
            answers, refused = self._run(tasks, alike=alike)
            if refused:
                self._finished |= answers
                raise refused[0]
            self._keep(self._way_of(tasks), tasks)
            return {number: answers[number] for number in checked}

    def _keep(self, way: QuickPool | None, tasks: Sequence[Task]) -> None:
        """Let the next push_many of these streams go ``way``, if nothing waits in them."""
        if way is None:
            return
        with self._lock:
            streams = [self._streams.get(task.row.id) for task in tasks]
            if all(each is not None and not each.queue and not each.start for each in streams):
                self._quick = way

    def _way_of(self, tasks: Sequence[Task]) -> QuickPool | None:
        """What goes the shortest way with these again, which have run just now."""
        if not FEWEST_ALIKE <= len(tasks) <= self._most or self._joining:
            return None
        kind = self._streams[tasks[0].row.id].kind
        block = self._blocks[kind]
        if len(block) != len(tasks):
            return None
        if len({tuple(array.shape for array in task.chunk) for task in tasks}) > 1:
            return None
        same = all(self._streams[task.row.id].kind == kind for task in tasks)
        return block.quick(tasks) if same else None

    def reset(self, stream: int) -> None:
        """Let a stream start anew with the next chunk that is pushed; those that wait run first."""
        with self._lock:
            if stream not in self._streams:
                raise _unknown(stream)
            self._quick = None
            self._streams[stream].start = True

    def state(self, stream: int) -> dict[str, np.ndarray]:
        """Copies of all that a stream remembers after the chunks that have run.

        The same as the ``state`` of a StreamSession with batch 1, to go on there or in another
        pool.
        """
        with self._running:
            self._admit()
            found = self._known(stream)
            held = self._blocks[found.kind].state(found.row)
            if found.start and not found.queue:
                held |= self._form.initial_states(found.sizes)
            return held

    def close(self, stream: int) -> None:
        """End a stream; chunks that wait are dropped."""
        with self._running:
            self._admit()
            with self._lock:
                self._quick = self._again = None
                found = self._streams.pop(stream, None)
                if found is None:
                    raise _unknown(stream)
                self._finished.pop(stream, None)
            block = self._blocks[found.kind]
            block.leave(found.row)
            if not len(block):
                del self._blocks[found.kind]

    def _run(
        self, tasks: list[Task], *, alike: bool = False
    ) -> tuple[dict[int, list[np.ndarray]], list[InputError]]:
        """Outputs by stream, and the errors of those that were refused even alone.

        ``alike`` tasks are known to be such that they may share a run.
        """
        self._admit()
        groups: dict[Hashable, list[Task]] = {0: tasks} if alike else {}
        for task in [] if alike else tasks:
            kind = self._streams[task.row.id].kind
            groups.setdefault((kind, task.alike(self._form)), []).append(task)
        answers: dict[int, list[np.ndarray]] = {}
        refused: list[InputError] = []
        for group in groups.values():
            block = self._blocks[self._streams[group[0].row.id].kind]
            for first in range(0, len(group), self._most):
                batch = group[first : first + self._most]
                try:
                    answers |= block.run(batch)
                except InputError as error:
                    if len(batch) == 1:
                        self._refuse(batch[0], error, refused)
                        continue
                    for task in batch:
                        try:
                            answers |= block.run([task])
                        except InputError as own:
                            self._refuse(task, own, refused)
        return answers, refused

    def _refuse(self, task: Task, error: InputError, refused: list[InputError]) -> None:
        refused.append(InputError(f"stream {task.row.id}: {error}"))
        with self._lock:
            stream = self._streams[task.row.id]
            # The reset was not done: it goes on to the next chunk.
            if task.start and stream.queue:
                stream.queue[0] = (stream.queue[0][0], True)
            elif task.start:
                stream.start = True

    def _put_back(self, tasks: Iterable[Task]) -> None:
        with self._lock:
            for task in tasks:
                self._streams[task.row.id].queue.appendleft((task.chunk, task.start))

    def _admit(self) -> None:
        """Let the streams that were opened since the last run into their blocks."""
        with self._lock:
            joining, self._joining = self._joining, []
        for stream in joining:
            block = self._blocks.setdefault(stream.kind, Block(self._form, self._make_rows))
            block.join(stream.row)

    def _kind(self, row: Row) -> Hashable:
        """Streams of one kind share a block: their context may be stacked, or is the same."""
        if not self._shares:
            return row.id
        return tuple(
            (array.shape, array.tobytes() if self._form.row_axis(spec) is None else b"")
            for spec, array in ((spec, row.context[spec.name]) for spec in self._form.context)
        )

    def _known(self, stream: int) -> Stream:
        found = self._streams.get(stream)
        if found is None:
            raise _unknown(stream)
        return found


def _unknown(stream: Any) -> InputError:
    return InputError(f"stream must be one that is open, got {stream!r}. Use what open() gave.")
