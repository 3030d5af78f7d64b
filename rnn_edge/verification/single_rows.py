"""A graph for one row at a time, called row by row where a batch is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rnn_edge.contract import GraphContract, TensorSpec
from rnn_edge.runtime import Session
from rnn_edge.runtime.stream_form import StreamForm, fixed_rows


class SingleRows:
    """Answers as a session of a batch of any size; ``stream`` says where the rows lie.

    Its contract is that of the step graph, with the axis of rows named as in ``stream``.
    """

    def __init__(self, step: Session, stream: GraphContract) -> None:
        form = StreamForm.of(stream)
        self._step = step
        tensors = {spec.name: spec for spec in (*stream.inputs, *stream.outputs)}
        self._axes = {name: form.row_axis(spec) for name, spec in tensors.items()}
        self._rows = str(form.batch)

        def named(spec: TensorSpec) -> TensorSpec:
            axis, dims = self._axes[spec.name], list(spec.dims)
            if axis is not None:
                dims[axis] = self._rows
            return replace(spec, dims=tuple(dims))

        self.contract = replace(
            step.contract,
            inputs=tuple(map(named, step.contract.inputs)),
            outputs=tuple(map(named, step.contract.outputs)),
        )

    def run(self, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """As Session.run; a tensor that rows share is that of the last one."""
        rows = next(
            array.shape[axis]
            for name, array in inputs.items()
            if (axis := self._axes[name]) is not None
        )
        answers = [self._step.run(self._row(inputs, row)) for row in range(rows)]
        outputs = []
        for spec, *parts in zip(self.contract.outputs, *answers, strict=True):
            axis = self._axes[spec.name]
            outputs.append(parts[-1] if axis is None else np.concatenate(parts, axis))
        return outputs

    def _row(self, inputs: dict[str, np.ndarray], row: int) -> dict[str, Any]:
        return {
            name: array if (axis := self._axes[name]) is None else array.take([row], axis)
            for name, array in inputs.items()
        }


def session_for_rows(step: Session, stream: GraphContract) -> Any:
    """``step``, or where its batch is fixed a SingleRows of it."""
    fixed = fixed_rows(StreamForm.of(stream), step.contract)
    return step if fixed is None else SingleRows(step, stream)
