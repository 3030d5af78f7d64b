"""A stream graph for an .onnx file that came from elsewhere: derived, proved, written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnn_edge.contract import GraphContract, StatePair, TensorSpec
from rnn_edge.errors import InputError, StreamError
from rnn_edge.extras import import_extra
from rnn_edge.file_cases import file_cases, sizes_at
from rnn_edge.folder import replace_file
from rnn_edge.profiling.inputs import random_inputs
from rnn_edge.runtime import Session
from rnn_edge.verification.chunks import check_stream
from rnn_edge.verification.golden import run_at
from rnn_edge.verification.report import StreamReport

if TYPE_CHECKING:
    import onnx_ir as ir

_SEED = 23


@dataclass(frozen=True)
class StreamFile:
    """A file that was written: where, what it takes and gives, and how it was proved."""

    path: Path
    contract: GraphContract
    report: StreamReport


def derive_stream(
    source: str | Path,
    out: str | Path | None = None,
    *,
    axis: str | None = None,
    batch: str | None = None,
    states: Mapping[str, str] | None = None,
    frame_rate: float | None = None,
) -> StreamFile:
    """Make the stream graph of any whole-sequence .onnx file, and prove it; ``source`` stays.

    The new file takes chunks of any length along ``axis``, states in and out, and carries its
    contract, so that StreamSession runs it. ``out`` is a folder or a file; left out,
    ``NAME.stream.onnx`` is written beside the source. ``axis`` and ``batch`` name dynamic axes;
    they may be left out where the file leaves no doubt. In a file for one length ``axis`` is an
    input and a place, such as ``x.1``. ``states`` pairs inputs with the outputs
    that feed them in the next call; ``frame_rate`` says how many frames a second brings.

    The truth are the file's own answers for whole sequences, which are compared with those in
    random chunks; nothing is written where one is off. Raises InputError for a file that cannot be
    loaded, StreamError where an answer needs frames that are still to come, VerificationError.
    """
    import_extra("onnxscript")
    onnx_ir = import_extra("onnx_ir")
    from rnn_edge.graphs.cleaning import clean
    from rnn_edge.graphs.constant_fills import FoldConstantFills
    from rnn_edge.graphs.streaming import derive_stream as derive
    from rnn_edge.graphs.streaming.fixed_length import length_at
    from rnn_edge.streaming import StreamWish, save_graph

    wish = StreamWish(frame_rate=frame_rate)
    path = Path(source)
    if path.is_dir():
        raise InputError(
            f"{path} must be an .onnx file, it is a folder. `rnn-edge export` writes the stream "
            "graph of a bundle."
        )
    whole = Session(path)
    if whole.contract.stream is not None:
        raise InputError(
            f"{path} must take whole sequences, it takes chunks already. Use it as it is."
        )
    target = _target(path, out)
    contract, batch = _name_axes(whole, axis, batch, states or {})
    model = onnx_ir.load(path)
    onnx_ir.external_data.load_to_model(model)
    _set_shapes(model, contract)
    # Other exporters compute at run time what is constant: paddings, shapes, initial states.
    FoldConstantFills()(model)
    clean(model)
    stream = derive(model, contract, axis, batch or "batch")
    rule = stream.contract.stream
    assert rule is not None
    rule = wish.complete(rule)
    written = replace(stream.contract, file=target.name, stream=rule)
    with tempfile.TemporaryDirectory() as staging:
        draft = Path(staging) / target.name
        save_graph(stream.model, written, draft, whole.about)
        session = Session(draft, trusted=True)
        length = None if axis is None else length_at(contract, axis)
        cases = list(file_cases(whole, contract, (rule.axis, length), batch))
        if not cases:
            raise StreamError(
                f"{path} must run on random inputs to be compared, it refused all sizes of "
                f"{rule.axis}. Name the axis of time."
            )
        report = check_stream(session, whole, cases)
        replace_file(draft, target)
    return StreamFile(target, written, report)


def _target(path: Path, out: str | Path | None) -> Path:
    if out is None:
        return path.with_name(f"{path.stem}.stream.onnx")
    target = Path(out)
    return target if target.suffix == ".onnx" and not target.is_dir() else target / "stream.onnx"


def _name_axes(
    whole: Session, axis: str | None, batch: str | None, states: Mapping[str, str]
) -> tuple[GraphContract, str | None]:
    """The contract with its state pairs and the dims of outputs, and the name of the batch axis."""
    from rnn_edge.graphs.streaming import find_time_axis

    contract = whole.contract
    names = _dynamic_axes(contract, contract.state_inputs | set(states))
    placed = axis is not None and axis not in names and "." in axis
    for what, name in (("axis", None if placed else axis), ("batch", batch)):
        if name is not None and name not in names:
            raise InputError(
                f"{what} must be one of {', '.join(names) or 'no dynamic axis'}, got {name!r}. "
                "Name it as `rnn-edge inspect` does, a fixed axis of time by input and place (x.1)."
            )
    known = {axis, batch} - {None} or {"batch", "sequence"} & set(names)
    if not known and len(names) > 1:
        raise StreamError(
            f"the axis of time must be known, got {', '.join(names)}. Name it (--axis)."
        )
    if batch is None:
        rest = [name for name in names if name != (axis or "sequence")]
        alone = len(rest) == 1 and (placed or len(names) > 1)
        batch = "batch" if "batch" in rest else rest[0] if alone else None
    axis = axis or find_time_axis(contract, batch or "batch")
    contract = replace(contract, states=(*contract.states, *_pairs(contract, states, batch)))
    return _name_outputs(whole, contract, axis, batch), batch


def _dynamic_axes(contract: GraphContract, states: frozenset[str] | set[str]) -> list[str]:
    dims = (dim for spec in contract.inputs if spec.name not in states for dim in spec.dims)
    return list(dict.fromkeys(dim for dim in dims if isinstance(dim, str)))


def _pairs(
    contract: GraphContract, states: Mapping[str, str], batch: str | None
) -> Iterator[StatePair]:
    for source, target in states.items():
        dims = contract.input(source).dims
        contract.output(target)
        yield StatePair(source, target, dims.index(batch) if batch in dims else None)


def _name_outputs(
    whole: Session, contract: GraphContract, axis: str, batch: str | None
) -> GraphContract:
    """Name the axes of outputs that follow the batch, which a file may leave without a name."""
    if batch is None:
        return contract
    shapes = []
    for rows in (2, 3):
        sizes = sizes_at(contract, axis, batch, rows, 11)
        arrays = random_inputs(contract, sizes, np.random.default_rng(_SEED))
        try:
            shapes.append([array.shape for array in run_at(whole, arrays)])
        except InputError:
            return contract
    outputs = tuple(
        _renamed(spec, two, three, batch)
        for spec, two, three in zip(contract.outputs, *shapes, strict=True)
    )
    return replace(contract, outputs=outputs)


def _renamed(
    spec: TensorSpec, two: tuple[int, ...], three: tuple[int, ...], batch: str
) -> TensorSpec:
    dims = tuple(
        batch if isinstance(dim, str) and (small, large) == (2, 3) else dim
        for dim, small, large in zip(spec.dims, two, three, strict=True)
    )
    return replace(spec, dims=dims)


def _set_shapes(model: ir.Model, contract: GraphContract) -> None:
    """Give the axes of the graph's inputs and outputs the names of the contract."""
    import onnx_ir

    values = {value.name: value for value in (*model.graph.inputs, *model.graph.outputs)}
    for spec in (*contract.inputs, *contract.outputs):
        values[spec.name].shape = onnx_ir.Shape(list(spec.dims))
