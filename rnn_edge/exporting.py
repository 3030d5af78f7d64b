"""Export: capture a module, verify its graph, and only then write the bundle."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rnn_edge.bundle import Bundle, refuse_foreign_folder, write_bundle
from rnn_edge.contract import (
    AxisLimits,
    Contract,
    Decoder,
    FrontEnd,
    GraphContract,
    LabelDecoder,
)
from rnn_edge.describing import MODEL_FILE, Description, describe, merge_limits
from rnn_edge.errors import ExportError, InputError, VerificationError
from rnn_edge.exported import Exported, graphs_of
from rnn_edge.extras import import_extra
from rnn_edge.generating import add_generator, never_without_text
from rnn_edge.hearing import put_hearing
from rnn_edge.pipelining import add_pipeline
from rnn_edge.sound_features import SoundFeatures
from rnn_edge.streaming import StreamWish, add_stream, save_graph

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

    from rnn_edge.capture.capture import Capture
    from rnn_edge.checkpoint import Checkpoint
    from rnn_edge.runtime import Session
    from rnn_edge.verification.parity import Parity


def export(
    module: nn.Module,
    args: Any,
    out_dir: str | Path,
    *,
    axes: Any,
    kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
    output_names: Sequence[str] | None = None,
    states: Mapping[str, str] | None = None,
    limits: Mapping[str, AxisLimits] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    meanings: Mapping[str, str] | None = None,
    task: str | None = None,
    front_end: FrontEnd | SoundFeatures | None = None,
    decoder: Decoder | None = None,
    stream: bool | Literal["auto"] = "auto",
    time_axis: str | None = None,
    frame_rate: float | None = None,
    portable: bool = False,
) -> Bundle:
    """Export ``module`` to a verified bundle at ``out_dir``; ``module`` itself is not changed.

    ``args`` are example tensors for forward(), nested as it takes them, ``kwargs`` the same by
    name. ``axes`` has one entry per argument: a tuple with one axis name per dimension, None for
    a fixed size; nested arguments have nested entries; a mapping by parameter name will do.

    ``states`` pairs inputs with the outputs that feed them in the next call; ``bounds`` gives the
    smallest and largest value of an input; ``limits`` restrict axes further than forward() does;
    ``meanings`` say what a tensor is; ``front_end`` and ``decoder`` say what an app must do before
    and after. ``stream`` asks for stream.onnx, which takes the sequence in chunks: "auto" writes it
    where the module is causal in time, True fails where it is not. ``time_axis`` names the axis of
    time where several are dynamic and none is ``sequence``; ``frame_rate`` says how many of its
    frames a second has. Where ``decoder`` reads next characters, generate.onnx is written, which
    continues prompts in one run. Where ``front_end`` and ``decoder`` have a form inside a graph,
    pipeline.onnx is written, which takes what an app has and gives what a person reads; texts as
    strings, or with ``portable`` as int32 code points, for standard operators alone.

    With SoundFeatures as ``front_end``, ``module`` reads features and maybe the frames of each row,
    and the graphs read ``samples`` [batch, sequence] and maybe ``lengths``: ``args`` are those of
    ``module``, names of inputs and axes those of the graphs, ``axes`` is left aside.

    Raises ExportError when the module cannot be expressed, VerificationError when the graph does
    not give its answers at other sizes, StreamError when it cannot run in chunks as asked; then
    nothing is written, and what is at ``out_dir`` stays.
    """
    for package in ("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime"):
        import_extra(package)
    from rnn_edge.capture import capture, evaluating
    from rnn_edge.capture.preparation import prepare
    from rnn_edge.graphs.label_scores import require_logits
    from rnn_edge.graphs.streaming import Stream
    from rnn_edge.verification.ragged_rows import are_rows_apart

    refuse_foreign_folder(Path(out_dir))
    wish, near = StreamWish(stream, time_axis, frame_rate), None
    if isinstance(front_end, SoundFeatures):
        heard = put_hearing(front_end, module, args, kwargs, decoder)
        module, args, kwargs, axes = heard.module, heard.args, None, heard.axes
        bounds = {heard.names.get(name, name): each for name, each in (bounds or {}).items()}
        near = dict(zip(axes[0], args[0].shape, strict=True))
        front_end, decoder, limits = (
            heard.front_end,
            heard.decoder,
            {**heard.limits, **(limits or {})},
        )
    description = Description(states or {}, limits or {}, bounds or {}, meanings or {})
    module = prepare(module, args, kwargs)
    # Passes over graphs keep state of their own too: one export at a time, from end to end.
    with evaluating(module), tempfile.TemporaryDirectory() as staging:
        place = Path(staging)
        captured, graph, session, parity = _capture_verified(
            partial(capture, module, args, kwargs, axes, output_names, near=near),
            module,
            description,
            place,
        )
        if isinstance(decoder, LabelDecoder):
            require_logits(captured.model, graph, decoder, type(module).__name__)
        graph = replace(graph, axes=merge_limits(parity.limits, description.limits))
        graph = replace(graph, ragged=are_rows_apart(session, graph, parity.cases))
        original = (module, captured.arguments, parity.cases)
        decoder = never_without_text(decoder, front_end, graph)
        part = add_stream(captured, graph, session, original, place, wish)
        whole = Stream(captured.model, graph)
        generation = add_generator(part.stream, whole, original[:2], place, decoder)
    graphs = graphs_of(graph, part, generation)
    contract = Contract(name or Path(out_dir).resolve().name, graphs, task, front_end, decoder)
    pipeline = add_pipeline(captured.model, contract, session, portable, generation)
    if pipeline.graph is not None:
        contract = replace(contract, graphs={**graphs, "pipeline": pipeline.graph.contract})
    made = Exported(captured, graph, parity, part, generation, pipeline, contract)
    return write_bundle(out_dir, contract, made.evidence, made.fill)


def _capture_verified(
    capture_module: Callable[..., Capture], module: nn.Module, description: Description, place: Path
) -> tuple[Capture, GraphContract, Session, Parity]:
    """The graph that gives the answers of ``module``, saved in ``place``, and how that was seen.

    What forward() does where a size is 1 is mostly what it does elsewhere, in another way, and
    the graph is simpler without it. It is joined to the rest where it is not. What it does on one
    side of a size is right on the other side at times, but not the other way round: padding to a
    length by less than 0 cuts.
    """
    captured = capture_module()
    try:
        return _verify(captured, module, description, place)
    except VerificationError as error:
        fault = error
    others: list[dict[str, Any]] = [{"near": fault.sizes}] if fault.sizes else []
    # A side of a branch that was not followed is why, most often.
    branches = captured.branches
    if captured.at_one and 1 in fault.sizes.values():
        branches += captured.at_one
        others.insert(0, {"joins_at_one": True})
    for other in others:
        with suppress(ExportError, VerificationError):
            return _verify(capture_module(**other), module, description, place)
    if branches:
        raise ExportError(branches[0])
    raise _tell_place(fault, captured.model, type(module).__name__)


def _verify(
    captured: Capture, module: nn.Module, description: Description, place: Path
) -> tuple[Capture, GraphContract, Session, Parity]:
    from rnn_edge.verification.against_module import verify_against_module

    graph = describe(captured, description)
    save_graph(captured.model, graph, place / MODEL_FILE)
    session = _open(place / MODEL_FILE, captured.model, type(module).__name__)
    return captured, graph, session, verify_against_module(session, module, captured.arguments)


def export_checkpoint(
    checkpoint: Checkpoint,
    out_dir: str | Path,
    *,
    stream: bool | Literal["auto"] = "auto",
    frame_rate: float | None = None,
    portable: bool = False,
) -> Bundle:
    """Export a trained model to a verified bundle at ``out_dir``; errors are those of export().

    ``frame_rate`` is how many frames of a series a second brings; the task may know it.
    """
    deployment = checkpoint.deployment()
    return export(
        checkpoint.module,
        deployment.args,
        out_dir,
        axes=deployment.axes,
        output_names=deployment.output_names,
        states=deployment.states,
        limits=deployment.limits,
        bounds=deployment.bounds,
        meanings=deployment.meanings,
        task=checkpoint.task.name,
        front_end=deployment.front_end,
        decoder=deployment.decoder,
        stream=stream,
        frame_rate=deployment.frame_rate if frame_rate is None else frame_rate,
        portable=portable,
    )


def _tell_place(error: VerificationError, model: ir.Model, owner: str) -> VerificationError:
    """``error`` with the line of code that computes what is off, where it is known."""
    from rnn_edge.graphs.origin import find_line

    line = find_line(model, error.place, owner) if error.place else ""
    if not line:
        return error
    what, _, change = str(error).rpartition(". ")
    return VerificationError(f"{what}. {line}. {change}", error.place)


def _open(path: Path, model: ir.Model, owner: str) -> Session:
    from rnn_edge.graphs.origin import find_line
    from rnn_edge.runtime import Session

    try:
        return Session(path, trusted=True)
    except InputError as error:
        found = re.search(r"implementation for (\w+)", str(error))
        missing = f"none for {found[1]} in its dtype" if found else "a refusal"
        nodes = [n for n in model.graph.all_nodes() if found and n.op_type == found[1]]
        line = find_line(model, str(nodes[0].name), owner) if nodes else ""
        missing += f": {line}" if line else ""
        raise ExportError(
            "every operator of a module must have a kernel in ONNX Runtime on the CPU to be "
            f"exported, got {missing}. Export the module in float32: call .float()."
        ) from error
