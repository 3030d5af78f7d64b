"""Stream graphs: derived from a whole-sequence graph, proved, and written beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_edge.contract import METADATA_KEY, Contract, GraphContract, StreamRule
from rnn_edge.errors import ExportError, InputError, StreamError, VerificationError
from rnn_edge.runtime import Session
from rnn_edge.runtime.stream_form import StreamForm
from rnn_edge.version import VERSION

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

    from rnn_edge.capture import Capture
    from rnn_edge.capture.arguments import Arguments
    from rnn_edge.graphs.streaming import Stream
    from rnn_edge.verification.cases import Case

# Frames in the chunks of the golden data, one after another.
_GOLDEN_CHUNKS = (1, 3, 1, 2)
# Frames that each output of the golden data should have; behind a stride the chunks are larger.
_LEAST_FRAMES = 3


@dataclass(frozen=True)
class StreamWish:
    """What a person asks of streaming.

    ``stream`` is True, False or "auto", ``time_axis`` the name of the axis of time where it is not
    ``sequence`` and not the only one, ``frame_rate`` its frames a second. Raises ContractError.
    """

    stream: bool | str = "auto"
    time_axis: str | None = None
    frame_rate: float | None = None

    def __post_init__(self) -> None:
        self.complete(StreamRule(self.time_axis or ""))

    def complete(self, rule: StreamRule) -> StreamRule:
        """``rule`` with what no graph can tell."""
        return replace(rule, frame_rate=self.frame_rate)


@dataclass(frozen=True)
class StreamPart:
    """What an export learns of streaming: a graph with its evidence, or why there is none."""

    stream: Stream | None
    evidence: Mapping[str, Any]
    # The same for single frames, where that is worth it.
    step: Stream | None = None


def add_stream(
    captured: Capture,
    graph: GraphContract,
    whole: Session,
    original: tuple[nn.Module, Arguments, Sequence[Case]],
    staging: Path,
    wish: StreamWish,
) -> StreamPart:
    """Derive the stream graph of what was captured and hold it against the eager module.

    Raises StreamError or VerificationError when a stream is demanded and there is no such graph;
    with "auto" the reason becomes the evidence.
    """
    from rnn_edge.graphs.streaming import choose_step, derive_stream, find_time_axis
    from rnn_edge.verification.against_module import verify_stream_against_module

    if wish.stream is False:
        return StreamPart(None, {"refused": "not asked for"})
    try:
        # Loops written out, which takes as long as the capture, give no input an axis of time.
        axis = wish.time_axis or find_time_axis(graph)
        try:
            stream = derive_stream(captured.model, graph, axis)
        except StreamError as refusal:
            stream = derive_stream(_write_out(captured, refusal), graph, axis)
        _require_plain_states(stream.contract)
        stream = _completed(stream, wish)
        step = choose_step(stream)
        sessions = [_save_and_open(each, staging) for each in (stream, step)]
        module, arguments, cases = original
        assert sessions[0] is not None
        report = verify_stream_against_module(
            sessions[0], whole, module, arguments, cases, sessions[1]
        )
    except (InputError, StreamError, VerificationError) as error:
        if wish.stream is True:
            raise
        return StreamPart(None, {"refused": str(error)})
    return StreamPart(stream, report.to_dict(), step)


def _write_out(captured: Capture, refusal: StreamError) -> ir.Model:
    """The graph without its loops of fixed length; raises ``refusal`` where there is none."""
    if captured.write_out is None:
        raise refusal
    try:
        return captured.write_out()
    except ExportError:
        # torch.onnx has no form for all that stands in it.
        raise refusal from None


def _completed(stream: Stream, wish: StreamWish) -> Stream:
    rule = stream.contract.stream
    assert rule is not None
    return replace(stream, contract=replace(stream.contract, stream=wish.complete(rule)))


def _require_plain_states(contract: GraphContract) -> None:
    """Raise StreamError where the size of a state is not known before the first chunk."""
    form = StreamForm.of(contract)
    known = {form.batch, *(dim for spec in form.context for dim in spec.dims)}
    for pair in contract.states:
        dims = contract.input(pair.input).dims
        open_axes = [dim for dim in dims if isinstance(dim, str) and dim not in known]
        rows = None if pair.batch_axis is None else dims[pair.batch_axis]
        if isinstance(rows, str) and not rows.isidentifier():
            raise StreamError(
                f"which rows of a state are of one sequence must be known, {pair.input!r} has an "
                f"axis of {rows}. Merge them by a Reshape, or run whole sequences."
            )
        if open_axes:
            raise StreamError(
                f"the size of a state must be known before the first chunk, {pair.input!r} has one "
                f"of {open_axes[0]}. Fix that axis, or run whole sequences."
            )


def _save_and_open(stream: Stream | None, folder: Path) -> Session | None:
    if stream is None:
        return None
    path = folder / stream.contract.file
    save_graph(stream.model, stream.contract, path)
    return Session(path, trusted=True)


def save_graph(
    model: ir.Model, contract: GraphContract, path: Path, about: Contract | None = None
) -> None:
    """Write ``model`` with its contract inside, and what ``about`` says beyond the graphs."""
    import onnx_ir

    model.producer_name, model.producer_version = "rnn-edge", VERSION
    if about is None:
        model.metadata_props[METADATA_KEY] = contract.to_json()
    else:
        model.metadata_props.update(about.metadata(contract))
    onnx_ir.save(model, path)


def write_golden_chunks(
    folder: Path, stream: GraphContract, path: Path, inputs: Mapping[str, np.ndarray]
) -> None:
    """Write ``stream/test_data_set_*``: consecutive chunks, states in and out, in ``folder``."""
    from rnn_edge.verification.chunks import replay_chunks
    from rnn_edge.verification.golden import write_golden_set

    place = folder / "stream"
    place.mkdir()
    session = Session(path, trusted=True)
    calls: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = []
    for larger in (1, 2, 4, 8, 16, 32, 64, 128):
        chunks = [larger * size for size in _GOLDEN_CHUNKS]
        more = list(replay_chunks(session, dict(inputs), chunks))
        if calls and len(more) < len(chunks):
            break  # the sequence has no more frames
        calls = more
        if _gives_frames(stream, [outputs for _, outputs in calls]):
            break
    for number, (feed, outputs) in enumerate(calls):
        write_golden_set(place, number, feed, outputs)


def _gives_frames(stream: GraphContract, outputs: Sequence[Mapping[str, np.ndarray]]) -> bool:
    """Whether every output that has frames has some; behind a stride they come late."""
    for spec in stream.outputs:
        rate = f"{spec.name}.frames"
        if rate not in spec.dims:
            continue
        axis = spec.dims.index(rate)
        if sum(each[spec.name].shape[axis] for each in outputs) < _LEAST_FRAMES:
            return False
    return True
