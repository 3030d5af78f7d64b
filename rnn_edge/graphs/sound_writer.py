"""Features of sound as nodes: what rnn_edge.models.log_mel does as a module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.writing import Writer
from rnn_edge.sound_features import (
    ADD,
    ALL,
    MAX,
    NONE,
    REFLECT,
    SLOPES,
    TINY,
    SoundFeatures,
)

_NOTHING = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class SoundWriter:
    """Writes ``features`` of samples.

    ``lengths`` and ``frames``, int64[batch], are the samples and the frames of each row: what
    stands behind changes nothing, and frames there are zeros. Without them, all are.
    """

    writer: Writer
    features: SoundFeatures
    lengths: ir.Value | None = None
    frames: ir.Value | None = None

    def write(self, samples: ir.Value) -> ir.Value:
        """float32[batch, samples] -> float32[batch, frames, width]."""
        if self.features.preemphasis:
            kernel = self._number([[[-self.features.preemphasis, 1.0]]])
            row = self._op("Unsqueeze", samples, self._axes(1))
            row = self._op("Conv", row, kernel, pads=[1, 0])
            samples = self._op("Squeeze", row, self._axes(1))
        found = self._bands(self._padded(samples))
        inside = None
        if self.frames is not None:
            inside = inside_rows(self.writer, found, self.frames, 2)
        found = self._over_rows(self._logarithms(found, inside), inside)
        return found if inside is None else self._op("Where", inside, found, self._number(0))

    def _padded(self, samples: ir.Value) -> ir.Value:
        before, behind = self.features.edges
        reflect = self.features.center == REFLECT
        if self.lengths is not None:
            inside = inside_rows(self.writer, samples, self.lengths)
            samples = self._op("Where", inside, samples, self._number(0))
            if reflect:
                mirrored = self._mirrored(samples, self.lengths, before, behind)
                return self._op("Unsqueeze", mirrored, self._axes(1))
        row = self._op("Unsqueeze", samples, self._axes(1))
        if before or behind:
            amounts = self.writer.constant([0, 0, before, 0, 0, behind])
            row = self._op("Pad", row, amounts, mode="reflect" if reflect else "constant")
        return row

    def _mirrored(self, samples: ir.Value, lengths: ir.Value, before: int, behind: int) -> ir.Value:
        """Each row turned round at its first and at its own last sample."""
        whole = self.writer.constant
        shape = self._op("Shape", samples)
        size = self._op("Gather", shape, whole(1), axis=0)
        end = self._op("Add", size, whole(behind))
        places = self._op("Abs", self._op("Range", whole(-before), end, whole(1)))
        last = self._op("Unsqueeze", self._op("Sub", lengths, whole(1)), self._axes(1))
        places = self._op("Sub", last, self._op("Abs", self._op("Sub", last, places)))
        # Behind the end there is no frame.
        places = self._op("Max", places, whole(0))
        return self._op("GatherElements", samples, places, axis=1)

    def _bands(self, padded: ir.Value) -> ir.Value:
        basis = self._number(self.features.basis()[:, None])
        both = self._op("Conv", padded, basis, strides=[self.features.hop])
        half = self.features.size // 2 + 1
        real, imaginary = (self._part(both, start, start + half, 1) for start in (0, half))
        found = self._op("Add", self._op("Mul", real, real), self._op("Mul", imaginary, imaginary))
        found = self._op("Transpose", found, perm=[0, 2, 1])
        if self.features.power == 1:
            found = self._op("Sqrt", found)
        bands = self.features.bands()
        return found if bands is None else self._op("MatMul", found, self._number(bands))

    def _logarithms(self, found: ir.Value, inside: ir.Value | None) -> ir.Value:
        known = self.features
        found = self._op(
            "Add" if known.floor_by == ADD else "Max", found, self._number(known.floor)
        )
        factor = known.log_factor()
        if factor is not None:
            found = self._op("Log", found)
            found = found if factor == 1 else self._op("Mul", found, self._number(factor))
        if known.ref == MAX or known.top_db is not None:
            seen = found
            if inside is not None:
                seen = self._op("Where", inside, found, self._number(_NOTHING))
            largest = self._reduce("ReduceMax", seen, 1, 2)
            if known.top_db is not None:
                least = self._op("Sub", largest, self._number(known.top_db))
                found = self._op("Max", found, least)
            if known.ref == MAX:
                found = self._op("Sub", found, largest)
        cosines = known.cosines()
        return found if cosines is None else self._op("MatMul", found, self._number(cosines))

    def _over_rows(self, found: ir.Value, inside: ir.Value | None) -> ir.Value:
        known = self.features
        if known.cmvn != NONE:
            first = self._part(found, 0, 1, 1)
            # What stays the same over a row is nothing then, and little rounding.
            found = self._op("Sub", found, first)
            found = self._op("Sub", found, self._mean(found, inside))
            if known.cmvn == ALL:
                spread = self._op("Sqrt", self._mean(self._op("Mul", found, found), inside))
                largest = self._reduce("ReduceMax", self._op("Abs", first), 2)
                least = self._op("Mul", largest, self._number(known.least_deviation))
                least = self._op("Add", least, self._number(TINY))
                found = self._op("Div", found, self._op("Max", spread, least))
        if known.mean:
            found = self._op("Sub", found, self._number(known.mean))
        if known.std != 1:
            found = self._op("Div", found, self._number(known.std))
        parts = [found]
        for _ in range(known.deltas):
            parts.append(self._slopes(parts[-1], inside))
        return self._op("Concat", *parts, axis=2) if known.deltas else found

    def _mean(self, values: ir.Value, inside: ir.Value | None) -> ir.Value:
        """Of [batch, frames, width] over the frames of each row."""
        if inside is None or self.frames is None:
            return self._reduce("ReduceMean", values, 1)
        values = self._op("Where", inside, values, self._number(0))
        count = self._op("Cast", self.frames, to=int(ir.DataType.FLOAT))
        count = self._op("Unsqueeze", count, self._axes(1, 2))
        return self._op("Div", self._reduce("ReduceSum", values, 1), count)

    def _slopes(self, rows: ir.Value, inside: ir.Value | None) -> ir.Value:
        """Over time; the first and last frame stand beyond the ends."""
        whole = self.writer.constant
        if inside is not None and self.frames is not None:
            last = self._op("Sub", self.frames, whole(1))
            last = self._op("Unsqueeze", last, self._axes(1))
            ends = self._op("GatherND", rows, last, batch_dims=1)
            rows = self._op("Where", inside, rows, self._op("Unsqueeze", ends, self._axes(1)))
        wide = self._op("Pad", rows, whole([0, SLOPES, 0, 0, SLOPES, 0]), mode="edge")
        total = None
        for step in range(1, SLOPES + 1):
            # Ends count from behind: 0 is no end.
            later = self._part(wide, SLOPES + step, step - SLOPES or 2**62, 1)
            earlier = self._part(wide, SLOPES - step, -SLOPES - step, 1)
            risen = self._op("Mul", self._op("Sub", later, earlier), self._number(step))
            total = risen if total is None else self._op("Add", total, risen)
        assert total is not None
        squares = 2 * sum(step * step for step in range(1, SLOPES + 1))
        return self._op("Div", total, self._number(squares))

    def _reduce(self, kind: str, value: ir.Value, *axes: int) -> ir.Value:
        return self._op(kind, value, self._axes(*axes), keepdims=1)

    def _part(self, value: ir.Value, start: int, end: int, axis: int) -> ir.Value:
        return self._op("Slice", value, *map(self.writer.constant, ([start], [end], [axis])))

    def _op(self, kind: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        return self.writer.op(kind, *inputs, **attributes)

    def _axes(self, *axes: int) -> ir.Value:
        return self.writer.constant(axes)

    def _number(self, value: object) -> ir.Value:
        return self.writer.constant(value, np.float32)


def inside_rows(writer: Writer, rows: ir.Value, lengths: ir.Value, *more: int) -> ir.Value:
    """bool[batch, steps, ...], whether a step of ``rows`` [batch, steps, ...] is one of its row's.

    ``more`` are axes of size 1 beyond time.
    """
    size = writer.op("Gather", writer.op("Shape", rows), writer.constant(1), axis=0)
    places = writer.op("Range", writer.constant(0), size, writer.constant(1))
    found = writer.op("Less", places, writer.op("Unsqueeze", lengths, writer.constant([1])))
    return found if not more else writer.op("Unsqueeze", found, writer.constant(more))
