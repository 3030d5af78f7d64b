"""Sequences of different lengths -> few runs of a graph, and back to one output a sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rnn_edge.contract import (
    AudioFrontEnd,
    ByteFrontEnd,
    CharacterFrontEnd,
    ClipFrontEnd,
    Contract,
    Decoder,
    FrontEnd,
    GraphContract,
    LabelDecoder,
    SeriesFrontEnd,
    TagDecoder,
    TensorSpec,
    TextDecoder,
    ValueDecoder,
)
from rnn_edge.errors import InputError
from rnn_edge.runtime.session import Session

# Enough rows to keep the matrix products busy; rows of one batch are of similar length.
MOST_ROWS = 64


def answering_graph(contract: Contract) -> GraphContract:
    """The graph that takes what a person has: the model, or, where texts are written about it, what
    the model takes beside the ids of those texts, and the ids of the answer."""
    model = contract.graphs["model"]
    generator = contract.graphs.get("generate")
    decoder = contract.decoder
    if not isinstance(decoder, TextDecoder) or decoder.start is None:
        return model
    if generator is None:
        raise InputError(
            f"{model.file} must have a graph that writes its texts, it has none. Export the model "
            "again, and see what the export says."
        )
    ids = generator.inputs[0].name
    given = tuple(
        rows_first(spec)
        for spec in model.inputs
        if spec.name != ids and spec.name not in model.state_inputs
    )
    dims = ("batch", decoder.steps)
    written = TensorSpec("written", "int64", dims), TensorSpec("log_probabilities", "float32", dims)
    return replace(model, inputs=given, outputs=written, states=(), stream=None)


def rows_first(spec: TensorSpec) -> TensorSpec:
    """``spec`` with its axis "batch" in front of the others, if there is such an axis."""
    dims = sorted(spec.dims, key=lambda dim: dim != "batch")
    return replace(spec, dims=tuple(dims))


@dataclass(frozen=True)
class Layout:
    """Where batch and time stand in the tensors of a graph.

    ``batch`` and ``sequence`` name the axes; None when the graph takes one sequence at a time, or
    sequences of one length only.
    """

    data: TensorSpec
    lengths: TensorSpec | None
    output: TensorSpec
    batch: int | str | None
    sequence: str | None
    most_rows: int

    @classmethod
    def of(cls, contract: GraphContract) -> Layout:
        """Read it from the contract; InputError when the graph takes more than one sequence."""
        given = [spec for spec in contract.inputs if spec.name not in contract.state_inputs]
        lengths = [spec for spec in given if spec.lengths_of is not None]
        data = [spec for spec in given if spec.lengths_of is None]
        if len(data) != 1 or len(lengths) > 1:
            raise InputError(
                f"{contract.file} must take one sequence and its lengths to read files, "
                f"it takes {', '.join(spec.name for spec in given)}. Call it with rnn_edge.Session."
            )
        spec = data[0]
        has_lengths = bool(lengths)
        sequence = lengths[0].lengths_of if has_lengths else _sequence_axis(spec)
        batch = lengths[0].dims[0] if has_lengths else _batch_axis(spec, sequence)
        most = MOST_ROWS
        if isinstance(batch, int):
            most = batch
        elif batch is not None and batch in contract.axes:
            most = min(most, contract.axes[batch].maximum or most)
        return cls(
            spec, lengths[0] if has_lengths else None, contract.outputs[0], batch, sequence, most
        )

    def in_steps(self, decoder: Decoder | None) -> Layout:
        """This, with the axis of time where the output has one that the graph alone can tell.

        What has an answer a step and takes lengths may give as many as its longest row has.
        """
        spec, time = self.output, self.sequence
        others = [dim for dim in spec.dims if isinstance(dim, str) and dim not in self.data.dims]
        stepwise = isinstance(decoder, LabelDecoder | TagDecoder | ValueDecoder)
        if not stepwise or self.lengths is None or time is None or time in spec.dims:
            return self
        if len(others) != 1:
            return self
        dims = tuple(time if dim in others else dim for dim in spec.dims)
        return replace(self, output=replace(spec, dims=dims))

    def stands_row_after_row(self, front_end: FrontEnd | None) -> bool:
        """Whether an app gives rows of any lengths to a graph with that front end before it.

        Those of a graph that takes lengths are such; else texts, sounds, clips and series are,
        where the graph takes [batch, sequence, ...] and all else has a fixed size.
        """
        if self.lengths is not None:
            return True
        dims = self.data.dims
        ragged = (*(CharacterFrontEnd, ByteFrontEnd, AudioFrontEnd, ClipFrontEnd, SeriesFrontEnd),)
        fixed = all(isinstance(dim, int) for dim in dims[2:])
        return isinstance(front_end, ragged) and dims[1:2] == (self.sequence,) and fixed

    def run(
        self, session: Session, sequences: Sequence[np.ndarray], padding: float
    ) -> list[np.ndarray]:
        """``output`` of the graph for every sequence, in their order, without batch axis.

        ``sequences`` are [time, ...]. Where the graph takes lengths they share batches, filled up
        with ``padding``; otherwise only sequences of one length do. Outputs with a time axis are
        cut to the sequence's length.
        """
        found = self.run_outputs(session, sequences, padding, (self.output,))
        return [output for (output,) in found]

    def run_outputs(
        self,
        session: Session,
        sequences: Sequence[np.ndarray],
        padding: float,
        wanted: Sequence[TensorSpec],
    ) -> list[tuple[np.ndarray, ...]]:
        """As ``run``, of several outputs in one pass."""
        outputs: dict[int, tuple[np.ndarray, ...]] = {}
        names = [spec.name for spec in session.contract.outputs]
        places = [names.index(spec.name) for spec in wanted]
        for rows in self._batches([len(sequence) for sequence in sequences]):
            members = [sequences[row] for row in rows]
            outputs_of_batch = session.run(self._inputs(members, padding))
            parts = [
                self._parts(outputs_of_batch[place], spec, members)
                for place, spec in zip(places, wanted, strict=True)
            ]
            outputs.update(zip(rows, zip(*parts, strict=True), strict=True))
        return [outputs[row] for row in range(len(sequences))]

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Row numbers that run together, the longest first."""
        order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
        most = 1 if self.batch is None else self.most_rows
        batch: list[int] = []
        for row in order:
            alike = self.lengths is not None or not batch or lengths[batch[0]] == lengths[row]
            if batch and (len(batch) == most or not alike):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _inputs(self, members: Sequence[np.ndarray], padding: float) -> dict[str, np.ndarray]:
        time = max(len(member) for member in members)
        shape = (len(members), time, *members[0].shape[1:])
        data = np.full(shape, padding, np.dtype(self.data.dtype))
        for row, member in enumerate(members):
            data[row, : len(member)] = member
        rank = len(self.data.dims) + (self.batch is None)
        if data.ndim == rank + 1 and data.shape[-1] == 1:
            data = data[..., 0]
        dims: list[int | str | None] = list(self.data.dims)
        if self.batch is None:
            data = data[0]
        axes = [axis for axis in (self.batch, self.sequence) if axis is not None]
        # An axis of time without a name is the second.
        places = [dims.index(axis) for axis in axes if axis in dims]
        data = np.moveaxis(data, range(len(places)), places)
        inputs = {self.data.name: data}
        if self.lengths is not None:
            counts = [len(member) for member in members]
            inputs[self.lengths.name] = np.array(counts, np.dtype(self.lengths.dtype))
        return inputs

    def _parts(
        self, result: np.ndarray, spec: TensorSpec, members: Sequence[np.ndarray]
    ) -> Iterator[np.ndarray]:
        dims: list[int | str | None] = list(spec.dims)
        if self.batch is None:
            result = result[np.newaxis]
            dims = [None, *dims]
        elif self.batch in dims:
            place = dims.index(self.batch)
            result = np.moveaxis(result, place, 0)
            dims.insert(0, dims.pop(place))
        time = dims.index(self.sequence) if self.sequence in dims else None
        for row, member in enumerate(members):
            part = result[row]
            if time is not None:
                part = np.moveaxis(part, time - 1, 0)[: len(member)]
            yield part


def _sequence_axis(spec: TensorSpec) -> str | None:
    named = [dim for dim in spec.dims if isinstance(dim, str)]
    if "sequence" in named:
        return "sequence"
    if "batch" in named:
        return next((dim for dim in named if dim != "batch"), None)
    others = [dim for place, dim in enumerate(spec.dims) if isinstance(dim, str) and place > 0]
    return others[0] if others else None


def _batch_axis(spec: TensorSpec, sequence: str | None) -> int | str | None:
    if "batch" in spec.dims:
        return "batch"
    first = spec.dims[0] if spec.dims else None
    return None if first == sequence else first
