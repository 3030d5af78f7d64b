"""One sequence, or a batch of them, pushed through a model chunk by chunk."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.bundle import Bundle
from rnn_edge.contract import Contract, GraphContract
from rnn_edge.errors import InputError
from rnn_edge.runtime.stream_engine import choose_engine
from rnn_edge.runtime.stream_graph import StreamGraph


class StreamSession:
    """Push frames as they come; the states are carried from one push to the next.

    ``source`` is a Bundle or its folder, with a graph ``stream`` (and maybe ``step``, which then
    takes single frames), or a lone .onnx file of a stream graph; ``trusted`` as for Session.
    ``batch`` rows run side by side. ``context`` holds the inputs that belong to a whole sequence;
    they may be given at the first push as well.

    A chunk has the shape that the contract's input says, its batch axis being ``batch`` and its
    time axis any number of frames from 1. With ``copy=False`` the arrays that ``push`` gives are
    its own buffers, which the next push writes into: some 7% faster at a small model's step. Where
    the number of frames that come out is known only after the run they are new arrays all the same.

    ``engine`` "c" runs the graph as C that is written for it and compiled with this machine's
    compiler when first wanted; such a library is held against ONNX Runtime before it is used and
    kept (see rnn_edge.c99.library); what `rnn-edge tune` has found here is the default, else
    "onnxruntime". "c-int8" does so with weights of 8 bits. They need the packages
    of the extra `integrate` and a compiler, once. ``step`` False keeps single frames on the graph
    for chunks, where there is one for them; ``options`` are as for Session; both are what was tuned
    here by default. So are the graphs of the int8 bundle beside this one, where tune, given a
    budget, found them faster and neither an engine nor ``quantised=False`` is given.

    One stream belongs to one thread at a time; for many streams at once see StreamPool.
    Raises BundleError, ContractError, InputError or ProviderError; IntegrationError where a graph
    cannot be written as C.
    """

    def __init__(
        self,
        source: Bundle | str | Path,
        provider: str = "cpu",
        batch: int = 1,
        *,
        threads: int | None = 1,
        context: Mapping[str, Any] | None = None,
        copy: bool = True,
        trusted: bool = False,
        engine: str | None = None,
        step: bool | None = None,
        options: Sequence[str] | None = None,
        quantised: bool = True,
    ) -> None:
        self._graph: StreamGraph | None = StreamGraph(
            source, provider, threads, trusted, step=step, options=options,
            quantised=quantised and engine is None,
        )  # fmt: skip
        self._form = self._graph.form
        self._make_rows = choose_engine(engine, source, self._graph)
        #: What is known beyond the graph (front end, decoder); None for a file from elsewhere.
        self.about: Contract | None = self._graph.about
        self._form.check_rows(batch)
        self.batch = batch
        self.provider = provider
        self._copy = copy
        #: Frames pushed since the stream began here, was reset as a whole or was given a state.
        self.steps = 0
        self._output_names = [spec.name for spec in self._form.outputs]
        # Either engine; a plan is run by the rows that made it.
        self._rows: Any = None
        self._plan: Any = None
        if context is not None or not self._form.context:
            self._set_context(self._form.checked_context(context or {}, batch))

    @property
    def contract(self) -> GraphContract:
        """The tensors, axes, states and stream rule of the graph."""
        return self._form.contract

    @property
    def latency(self) -> int:
        """How many frames the answers lie behind the frames pushed."""
        return self._form.rule.latency

    def push(self, *chunk: Any) -> list[np.ndarray]:
        """Run the next frames: ``push(array, ...)`` in the contract's order or ``push({name: a})``.

        Context inputs are given with the first chunk (in the contract's order among the others, or
        by name) and kept; they may be given again. Gives the outputs that are no state, in the
        contract's order: the frames that are ready, maybe none, and the answers for what has been
        pushed so far. Raises InputError, with the stream as it was, when an array does not fit the
        contract, is empty, or holds NaN, infinity or a value out of bounds.
        """
        plan = self._plan
        if plan is not None:
            quick = plan.quick(chunk, self._copy)
            if quick is not None:
                self.steps += plan.frames
                return quick
        if plan is None or not plan.take(chunk):
            plan = None if self._rows is None else self._rows.ready_plan(chunk)
            if plan is None:
                return self._push_checked(chunk)
            self._plan = plan
        answers = self._rows.run(plan, self._copy)
        self.steps += plan.frames
        return answers

    def push_named(self, *chunk: Any) -> dict[str, np.ndarray]:
        """As ``push``, the outputs by name."""
        return dict(zip(self._output_names, self.push(*chunk), strict=True))

    def reset(self, rows: int | Iterable[int] | None = None) -> None:
        """Let all rows, or these, start anew at the next push; the context stays as it is.

        Raises InputError for a row that is not there, and for some rows only where the rows of a
        batch must be in step.
        """
        self._require_open()
        chosen = self._chosen(rows)
        if len(chosen) < self.batch and self._form.in_step:
            raise InputError(
                f"rows must be all {self.batch}, the rows of this model are in step; "
                f"got {len(chosen)}. Reset all rows, or use one stream a row (StreamPool)."
            )
        if self._rows is not None and chosen:
            self._rows.start(chosen)
        if len(chosen) == self.batch:
            self.steps = 0

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Copies of all that the stream remembers, by input name: states, reset, context.

        Assign it to a stream of the same model and batch to go on there, on any machine; context
        that is left out then stays what it is. ``reset`` (by the contract's name) is True for rows
        that start anew in the next push. Raises InputError where names, dtypes or shapes differ.
        """
        rows = self._require_rows()
        held = {**rows.states(), **rows.context()}
        if self._form.rule.reset is not None:
            held[self._form.rule.reset] = rows.fresh
        return {name: array.copy() for name, array in held.items()}

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        self._require_open()
        context = self._merged({name: state[name] for name in state if self._is_context(name)})
        states = self._form.checked_states(state, self._form.sizes(self.batch, context))
        if self._rows is None or self._rows.sizes != self._form.sizes(self.batch, context):
            self._rows, self._plan = self._make_rows(self.batch, context), None
        self._rows.set_context(context)
        self._rows.set_states(states, states.get(self._form.rule.reset or ""))
        self.steps = 0

    def close(self) -> None:
        """Give sessions and buffers back; the stream cannot be used any more."""
        self._graph = self._rows = self._plan = None

    def __enter__(self) -> StreamSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _push_checked(self, given: tuple[Any, ...]) -> list[np.ndarray]:
        """As ``push``, with every check that has a message, whatever the chunk's shape."""
        graph = self._require_open()
        chunk, context = self._split(given)
        before = self._rows
        held = None if before is None else {k: a.copy() for k, a in before.context().items()}
        wanted = self._merged(context) if context or held is None else held
        sizes = self._form.sizes(self.batch, wanted)
        arrays = self._form.checked_chunk(chunk, sizes, graph.shortest(self.batch))
        if context or before is None:
            self._set_context(wanted)
        rows = self._require_rows()
        try:
            plan = rows.plan(tuple(array.shape for array in arrays))
            plan.put(arrays)
            answers = rows.run(plan, self._copy)
        except InputError:
            self._rows, self._plan = before, None
            if before is not None and held is not None:
                before.set_context(held)
            raise
        self._plan = plan
        self.steps += plan.frames
        return answers

    def _split(self, given: tuple[Any, ...]) -> tuple[Any, dict[str, Any]]:
        """Chunk and context, as they were given."""
        if len(given) == 1 and isinstance(given[0], Mapping):
            named = given[0]
        elif len(given) == len(self._form.given):
            named = {s.name: a for s, a in zip(self._form.given, given, strict=True)}
        else:
            return given, {}
        context = {name: named[name] for name in named if self._is_context(name)}
        return {name: named[name] for name in named if name not in context}, context

    def _is_context(self, name: str) -> bool:
        return any(spec.name == name for spec in self._form.context)

    def _merged(self, context: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The whole context, with these inputs given anew; InputError when one is missing."""
        held = {} if self._rows is None else self._rows.context()
        missing = [s.name for s in self._form.context if s.name not in {**held, **context}]
        if missing:
            raise InputError(
                f"context {', '.join(missing)} must be given when a stream starts, it was not. "
                "Push it with the first chunk."
            )
        return self._form.checked_context({**held, **context}, self.batch)

    def _set_context(self, context: Mapping[str, np.ndarray]) -> None:
        self._require_open()
        rows = self._rows
        if rows is not None and all(
            array.shape == context[name].shape for name, array in rows.context().items()
        ):
            rows.set_context(context)
            return
        if rows is not None and not rows.fresh.all():
            raise InputError(
                "context must keep its shape while a stream runs, it has another. "
                "Call reset() before."
            )
        self._rows, self._plan = self._make_rows(self.batch, context), None

    def _chosen(self, rows: int | Iterable[int] | None) -> list[int]:
        if rows is None:
            return list(range(self.batch))
        try:
            given = list(rows) if isinstance(rows, Iterable) else [rows]
            # A mask would pass for the rows 0 and 1.
            wrong = any(isinstance(row, bool | np.bool_) for row in given)
            chosen = [-1] if wrong else sorted({operator.index(row) for row in given})
        except TypeError:
            chosen = [-1]
        if chosen and not 0 <= chosen[0] <= chosen[-1] < self.batch:
            raise InputError(
                f"rows must be numbers from 0 to {self.batch - 1}, got {rows!r}. Correct them."
            )
        return chosen

    def _require_open(self) -> StreamGraph:
        if self._graph is None:
            raise InputError("stream must be open, it was closed. Make another StreamSession.")
        return self._graph

    def _require_rows(self) -> Any:
        self._require_open()
        if self._rows is None:
            names = ", ".join(spec.name for spec in self._form.context)
            raise InputError(f"context {names} must be given first, it was not. Push it.")
        return self._rows
