"""A pipeline for an .onnx file that came from elsewhere: front end, file and decoder in one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_edge.contract import (
    AudioFrontEnd,
    AxisLimits,
    ByteFrontEnd,
    CharacterFrontEnd,
    Contract,
    CtcDecoder,
    Decoder,
    FrontEnd,
    GraphContract,
    LabelDecoder,
    NextCharacterDecoder,
    StatePair,
    TensorSpec,
)
from rnn_edge.describing import MODEL_FILE
from rnn_edge.errors import ExportError, InputError, VerificationError
from rnn_edge.extras import import_extra
from rnn_edge.file_sizes import count_frames, find_least_steps
from rnn_edge.folder import replace_file
from rnn_edge.frame_counts import FrameCounts, find_frame_counts
from rnn_edge.pipelining import PipelinePart, add_pipeline
from rnn_edge.runtime import Session
from rnn_edge.runtime.batches import Layout
from rnn_edge.runtime.pipeline import plain_front_end
from rnn_edge.scales import Scales
from rnn_edge.sound_features import SoundFeatures
from rnn_edge.streaming import save_graph
from rnn_edge.verification.tolerance import tolerance_for

if TYPE_CHECKING:
    import onnx_ir as ir

    from rnn_edge.graphs.streaming import Stream

# Steps of the sequences, beyond the least, that a file whose axes were put in order is tried with.
_MORE, _SEED = (0, 1, 12), 37
# A sequence and the steps of each row.
_WITH_LENGTHS = 2


@dataclass(frozen=True)
class PipelineFile:
    """A file that was written: where, what it takes and gives, and how it was proved."""

    path: Path
    contract: GraphContract
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class PipelineDraft:
    """``model`` reads what ``contract`` says, behind its features of sound if it has such."""

    model: ir.Model
    contract: Contract
    session: Session
    part: PipelinePart


def derive_pipeline(
    source: str | Path,
    out: str | Path | None = None,
    *,
    front_end: FrontEnd | SoundFeatures | Scales | None,
    decoder: Decoder | Scales,
    lengths: str | None = None,
    axes: Mapping[str, str] | None = None,
    states: Mapping[str, str] | None = None,
    portable: bool = False,
) -> PipelineFile:
    """Put ``front_end`` before and ``decoder`` behind any .onnx file, which stays as it is.

    Of ``SoundFeatures`` the file reads features, and the new one samples; of ``Scales`` it reads or
    gives scaled numbers, and the new one those as measured; of None it reads rows as they are.
    ``out`` is a folder or a file; left out, ``NAME.pipeline.onnx`` is written beside the source.
    ``lengths`` names the input that holds the steps of each row, ``axes`` says which names of the
    file are "batch" and "sequence" (``{"N": "batch"}``), where it has others; lengths that have
    the axis of rows alone tell it too. ``states`` pairs inputs with outputs that feed them: each
    row begins with zeros. With ``portable`` texts are code points.

    The answers are compared with those of front end, file and decoder in Python, one after the
    other. Raises InputError, ExportError with the reason where there is no such graph.
    """
    if isinstance(decoder, NextCharacterDecoder):
        raise InputError(
            f"{source} must answer what it reads, a language model goes on. Write a bundle, "
            "which has what generates: --bundle, or write_file_bundle()."
        )
    with tempfile.TemporaryDirectory() as staging:
        made = draft_pipeline(
            source, Path(staging), front_end, decoder, lengths, axes or {}, portable, states
        )
        path, graph = Path(source), made.part.graph
        if graph is None:
            raise ExportError(str(made.part.evidence["refused"]))
        target = path.with_name(f"{path.stem}.pipeline.onnx") if out is None else Path(out)
        if target.suffix != ".onnx" or target.is_dir():
            target = target / graph.contract.file
        written = replace(graph.contract, file=target.name)
        draft = Path(staging) / "pipeline.onnx"
        save_graph(graph.model, written, draft, made.contract)
        replace_file(draft, target)
    return PipelineFile(target, written, made.part.evidence)


def draft_pipeline(
    source: str | Path,
    staging: Path,
    front_end: FrontEnd | SoundFeatures | Scales | None,
    decoder: Decoder | Scales,
    lengths: str | None,
    axes: Mapping[str, str],
    portable: bool,
    states: Mapping[str, str] | None = None,
) -> PipelineDraft:
    """As derive_pipeline, without a file: ``staging`` is a folder for what is needed meanwhile.

    ``states`` pairs inputs with the outputs that feed them in the next call.
    """
    onnx_ir = import_extra("onnx_ir")
    from rnn_edge.graphs.label_scores import put_logits
    from rnn_edge.graphs.scales import put_scales

    path = Path(source)
    if path.is_dir():
        raise InputError(
            f"{path} must be an .onnx file, it is a folder. A bundle has its pipeline.onnx."
        )
    whole = Session(path)
    model = onnx_ir.load(path)
    onnx_ir.external_data.load_to_model(model)
    graph = _with_states(_named(whole.contract, lengths, axes), states or {})
    _require_lengths(graph)
    before, behind = (each if isinstance(each, Scales) else None for each in (front_end, decoder))
    measured = put_scales(model, graph, before, behind)
    model, graph = measured.model, measured.contract
    front_end = front_end.front_end if isinstance(front_end, Scales) else front_end
    decoder = decoder.decoder if isinstance(decoder, Scales) else decoder
    if isinstance(decoder, LabelDecoder):
        scored = put_logits(model, graph, decoder)
        model, graph = scored.model, scored.contract
    save_graph(model, graph, staging / MODEL_FILE)
    file = Session(staging / MODEL_FILE, trusted=True)
    graph = _with_least(graph, file)
    if isinstance(front_end, SoundFeatures):
        heard, decoder = _hear(model, graph, file, front_end, decoder, staging)
        model, graph = heard.model, heard.contract
        front_end = AudioFrontEnd(front_end.rate, front_end.text)
    elif front_end is None:
        front_end = plain_front_end(graph, path)
    inputs = tuple(_bounded(graph, front_end))
    dims = {dim for spec in inputs for dim in spec.dims if isinstance(dim, str)}
    limits = {**dict.fromkeys(sorted(dims), AxisLimits()), **graph.axes}
    graph = replace(graph, file=MODEL_FILE, inputs=inputs, axes=limits)
    save_graph(model, graph, staging / MODEL_FILE)
    contract = Contract(path.stem, {"model": graph}, None, front_end, decoder)
    session = Session(staging / MODEL_FILE, trusted=True)
    part = add_pipeline(model, contract, session, portable)
    return PipelineDraft(model, contract, session, part)


def _with_least(graph: GraphContract, file: Session) -> GraphContract:
    """``graph`` with the fewest steps that ``file`` runs on, which no .onnx tells."""
    try:
        layout = Layout.of(graph)
    except InputError:
        return graph
    if layout.sequence is None or layout.sequence in graph.axes:
        return graph
    limits = AxisLimits(find_least_steps(file))
    return replace(graph, axes={**graph.axes, layout.sequence: limits})


def _hear(
    model: ir.Model,
    graph: GraphContract,
    file: Session,
    features: SoundFeatures,
    decoder: Decoder,
    staging: Path,
) -> tuple[Stream, Decoder]:
    """``model``, which ``file`` runs, behind ``features``, and what its answers are then."""
    from rnn_edge.graphs.pipelines.usual_form import put_in_usual_form
    from rnn_edge.graphs.sound_features import put_sound_features

    usual = put_in_usual_form(model, graph)
    made = _hold_against(file, usual, staging)
    blank = given = None
    if isinstance(decoder, CtcDecoder):
        given = find_frame_counts(partial(count_frames, made)) or FrameCounts()
        blank = decoder.blank
        decoder = replace(decoder, stride=features.hop * given.stride)
    return put_sound_features(usual.model, usual.contract, features, blank, given), decoder


def _hold_against(whole: Session, usual: Stream, staging: Path) -> Session:
    """That of ``usual``. Raises VerificationError where it does not answer as ``whole``."""
    path = staging / "usual.onnx"
    save_graph(usual.model, usual.contract, path)
    made = Session(path, trusted=True)
    graph = whole.contract
    one, other = Layout.of(graph), Layout.of(usual.contract)
    random = np.random.default_rng(_SEED)
    least = max(1, graph.axes.get(one.sequence or "", AxisLimits()).minimum)
    fixed = [dim for dim in other.data.dims[2:] if isinstance(dim, int)]
    for more in _MORE:
        rows = [random.normal(0, 1, (least + more, *fixed)).astype(one.data.dtype)]
        try:
            (right,) = one.run(whole, rows, 0)
        except InputError:
            continue  # fewer steps than it takes
        (found,) = other.run(made, rows, 0)
        largest = float(np.max(np.abs(right), initial=1.0))
        allowed = tolerance_for(float(np.finfo(right.dtype).eps) * largest, right.dtype.name)
        if found.shape != right.shape or not np.max(np.abs(found - right), initial=0) <= allowed:
            raise VerificationError(
                f"the file with its axes in order must answer as before, it does not for "
                f"{least + more} steps. Nothing that is wrong is to be shipped: report the file."
            )
    return made


def _require_lengths(graph: GraphContract) -> None:
    """Raise InputError where a second input may well be the steps of each row."""
    given = [spec for spec in graph.inputs if spec.name not in graph.state_inputs]
    if len(given) != _WITH_LENGTHS or any(spec.lengths_of for spec in given):
        return
    second = given[1]
    if len(second.dims) == 1 and "int" in second.dtype:
        raise InputError(
            f"what the input {second} is must be known. Name it as the steps of each row, "
            f"--lengths {second.name}, if it is that."
        )


def _with_states(graph: GraphContract, states: Mapping[str, str]) -> GraphContract:
    pairs = list(graph.states)
    for source, target in states.items():
        dims = graph.input(source).dims
        graph.output(target)
        pairs.append(StatePair(source, target, dims.index("batch") if "batch" in dims else None))
    return replace(graph, states=tuple(pairs))


def _bounded(graph: GraphContract, front_end: FrontEnd) -> Iterator[TensorSpec]:
    """The inputs, the ids of a text within those that the front end gives."""
    data = Layout.of(graph).data
    if isinstance(front_end, CharacterFrontEnd):
        bounds = (0, len(front_end.vocabulary) - 1)
    elif isinstance(front_end, ByteFrontEnd):
        least = min(front_end.padding, front_end.offset)
        bounds = (least, max(front_end.padding, front_end.offset + 255))
    else:
        yield from graph.inputs
        return
    for spec in graph.inputs:
        yield replace(spec, minimum=bounds[0], maximum=bounds[1]) if spec == data else spec


def _guessed(contract: GraphContract, lengths: str | None) -> dict[str, str]:
    """Lengths have the axis of rows alone: what else has no fixed size, beside it, is time."""
    if lengths is None:
        return {}
    rows = contract.input(lengths).dims[:1]
    beside = {
        dim
        for spec in contract.inputs
        if spec.name not in (lengths, *contract.state_inputs) and set(rows) <= set(spec.dims)
        for dim in spec.dims
        if isinstance(dim, str) and dim not in rows
    }
    if len(beside) != 1 or not isinstance(rows[0], str):
        return {}
    return {rows[0]: "batch", beside.pop(): "sequence"}


def _named(contract: GraphContract, lengths: str | None, axes: Mapping[str, str]) -> GraphContract:
    """``contract`` with its axes named as ours are, and the input of lengths known."""
    if lengths is not None:
        contract.input(lengths)
    specs = (*contract.inputs, *contract.outputs)
    names = {dim for spec in specs for dim in spec.dims if isinstance(dim, str)}
    axes = axes or _guessed(contract, lengths)
    unknown = sorted(set(axes) - names)
    if unknown:
        raise InputError(
            f"axes must be among {', '.join(sorted(names))}, got {', '.join(unknown)}. "
            "Name them as `rnn-edge inspect` does."
        )

    def renamed(spec: Any) -> Any:
        dims = tuple(axes.get(dim, dim) if isinstance(dim, str) else dim for dim in spec.dims)
        return replace(
            spec, dims=dims, lengths_of="sequence" if spec.name == lengths else spec.lengths_of
        )

    return replace(
        contract,
        inputs=tuple(map(renamed, contract.inputs)),
        outputs=tuple(map(renamed, contract.outputs)),
        axes={axes.get(name, name): limits for name, limits in contract.axes.items()},
    )
