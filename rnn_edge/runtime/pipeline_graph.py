"""pipeline.onnx of a bundle: raw input in, readable answers out, all of it in the graph."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from rnn_edge.contract import (
    Contract,
    CtcDecoder,
    GraphContract,
    LabelDecoder,
    TagDecoder,
    TensorSpec,
    TextDecoder,
    ValueDecoder,
)
from rnn_edge.errors import InputError
from rnn_edge.runtime.batches import MOST_ROWS, Layout, answering_graph
from rnn_edge.runtime.decoders import Answer, LabelAnswer, TagAnswer, TextAnswer, ValueAnswer
from rnn_edge.runtime.feed import LongSequenceWarning
from rnn_edge.runtime.session import Session

# The graph of a bundle that takes raw input.
PIPELINE = "pipeline"
Arrays = dict[str, np.ndarray]


class GivenSample(Protocol):
    """A text as ``excerpt``; of anything else its ``sequence``, [time, ...]."""

    @property
    def excerpt(self) -> str: ...

    @property
    def sequence(self) -> np.ndarray: ...


class PipelineGraph:
    """The graph "pipeline" of ``contract`` in ``session``."""

    def __init__(self, session: Session, contract: Contract) -> None:
        self._session = session
        self._contract = contract
        self._model = answering_graph(contract)
        self._sequence = Layout.of(self._model).sequence

    def answer(self, samples: Sequence[GivenSample]) -> list[Answer]:
        """One answer a sample, in order. Raises InputError for a length that the model refuses."""
        lengths = [len(sample.sequence) for sample in samples]
        self._check(lengths)
        answers: dict[int, Answer] = {}
        order = sorted(range(len(samples)), key=lambda row: -lengths[row])
        for rows in _groups(order, lengths, self._takes_lengths):
            members = [samples[row] for row in rows]
            outputs = self._session.run_named(self.feed(members))
            for place, row in enumerate(rows):
                answers[row] = self.read(outputs, place, samples[row])
        return [answers[row] for row in range(len(samples))]

    def feed(self, samples: Sequence[GivenSample]) -> Arrays:
        """The graph's inputs for ``samples``."""
        spec = self._graph.inputs[0]
        if spec.dtype == "string":
            return {spec.name: np.array([sample.excerpt for sample in samples], object)}
        if not self._takes_lengths:
            rows = [_fitting(sample.sequence, spec, 1) for sample in samples]
            return {spec.name: np.stack(rows).astype(spec.dtype)}
        if spec.name == "code_points":
            parts = [np.array([*map(ord, sample.excerpt)], np.int32) for sample in samples]
        elif spec.name == "bytes":
            parts = [np.frombuffer(sample.excerpt.encode(), np.uint8) for sample in samples]
        else:
            parts = [_fitting(sample.sequence, spec, 0).astype(spec.dtype) for sample in samples]
        sizes = self._graph.inputs[1]
        lengths = np.array([len(part) for part in parts], sizes.dtype)
        return {spec.name: np.concatenate(parts), sizes.name: lengths}

    def read(self, outputs: Arrays, row: int, sample: GivenSample) -> Answer:
        """The answer of one row of the graph's ``outputs``."""
        first = outputs[self._graph.outputs[0].name][row]
        counts = self._graph.counts
        steps = None if counts is None else outputs[counts.name][row]
        match self._contract.decoder:
            case LabelDecoder() as decoder:
                found = outputs["probabilities"][row].astype(np.float64)
                return LabelAnswer(decoder.labels, found if steps is None else found[:steps])
            case ValueDecoder() as decoder:
                numbers = first if steps is None else first[:steps]
                if len(decoder.columns) == 1 and numbers.shape[-1:] != (1,):
                    numbers = numbers[..., np.newaxis]
                return ValueAnswer(decoder.columns, numbers)
            case TagDecoder():
                return TagAnswer(tuple(map(str, first[: len(sample.excerpt)])), sample.excerpt)
            case CtcDecoder() as decoder:
                chance = float(outputs["log_probability"][row])
                begun = np.flatnonzero(outputs["labels"][row] != "") * decoder.stride
                return TextAnswer((str(first),), (chance,), tuple(begun.tolist()))
            case TextDecoder():
                told = outputs.get("log_probability")
                return TextAnswer((str(first),), () if told is None else (float(told[row]),))
        raise InputError("a pipeline must have a decoder, it has none. Export the model again.")

    @property
    def _graph(self) -> GraphContract:
        return self._session.contract

    @property
    def _takes_lengths(self) -> bool:
        return self._graph.inputs[0].dtype == "string" or len(self._graph.inputs) > 1

    def _check(self, lengths: Sequence[int]) -> None:
        """What the graph cannot tell: no answer, or one of lengths never seen in training."""
        limits = self._model.axes.get(self._sequence or "")
        if limits is None or not lengths:
            return
        most = limits.maximum
        if min(lengths) < limits.minimum or (most is not None and max(lengths) > most):
            upper = "" if most is None else f" and at most {most}"
            wrong = next(n for n in lengths if n < limits.minimum or (most and n > most))
            raise InputError(
                f"axis {self._sequence!r} must be at least {limits.minimum}{upper}, got {wrong}. "
                "Give an input of such a length."
            )
        trained = limits.trained_maximum
        if trained is not None and max(lengths) > trained and self._takes_lengths:
            warnings.warn(
                f"axis {self._sequence!r} has size {max(lengths)}, the model was trained on at "
                f"most {trained}. Its answers may be worse.",
                LongSequenceWarning,
                stacklevel=3,
            )


def _groups(order: list[int], lengths: Sequence[int], ragged: bool) -> Iterator[list[int]]:
    """Rows that run together: of one length where the graph takes no lengths."""
    group: list[int] = []
    for row in order:
        alike = ragged or not group or lengths[group[0]] == lengths[row]
        if group and (len(group) == MOST_ROWS or not alike):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _fitting(sequence: np.ndarray, spec: TensorSpec, batch_axes: int) -> np.ndarray:
    """Numbers of a single column may stand without an axis for columns."""
    rank = len(spec.dims) - batch_axes
    return sequence[..., 0] if sequence.ndim == rank + 1 else sequence
