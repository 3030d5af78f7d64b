"""Export: capture a module, verify its graph, and only then write the bundle."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rnn_edge.bundle import Bundle, refuse_foreign_folder, write_bundle
from rnn_edge.bundle_readme import render_readme
from rnn_edge.contract import (
    AxisLimits,
    Contract,
    Decoder,
    FrontEnd,
    GraphContract,
    StatePair,
    TensorSpec,
)
from rnn_edge.errors import ExportError, InputError
from rnn_edge.extras import import_extra
from rnn_edge.generating import GeneratePart, add_generator, write_generator
from rnn_edge.pipelining import PipelinePart, add_pipeline, write_pipeline
from rnn_edge.streaming import (
    StreamPart,
    StreamWish,
    add_stream,
    save_graph,
    write_golden_chunks,
)
from rnn_edge.verification.shapes import BATCH_AXIS
from rnn_edge.version import VERSION

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

    from rnn_edge.capture import Capture
    from rnn_edge.checkpoint import Checkpoint
    from rnn_edge.runtime import Session
    from rnn_edge.verification.cases import Case
    from rnn_edge.verification.parity import Parity

MODEL_FILE = "model.onnx"
_PACKAGES = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy")
# Golden data of a very long case would outweigh the model.
_GOLDEN_BYTES = 2**20


@dataclass(frozen=True)
class Description:
    """What a person knows about a module and no capture can find out."""

    states: Mapping[str, str]
    limits: Mapping[str, AxisLimits]
    bounds: Mapping[str, tuple[float, float]]
    meanings: Mapping[str, str]


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
    front_end: FrontEnd | None = None,
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

    Raises ExportError when the module cannot be expressed, VerificationError when the graph does
    not give its answers at other sizes, StreamError when it cannot run in chunks as asked; then
    nothing is written, and what is at ``out_dir`` stays.
    """
    for package in ("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime"):
        import_extra(package)
    from rnn_edge.capture import capture, evaluating
    from rnn_edge.capture.preparation import prepare
    from rnn_edge.verification.against_module import verify_against_module
    from rnn_edge.verification.ragged_rows import are_rows_apart

    refuse_foreign_folder(Path(out_dir))
    wish = StreamWish(stream, time_axis, frame_rate)
    description = Description(states or {}, limits or {}, bounds or {}, meanings or {})
    module = prepare(module, args, kwargs)
    # Passes over graphs keep state of their own too: one export at a time, from end to end.
    with evaluating(module):
        captured = capture(module, args, kwargs, axes, output_names)
        graph = _describe(captured, description)
        with tempfile.TemporaryDirectory() as staging:
            path = Path(staging) / MODEL_FILE
            save_graph(captured.model, graph, path)
            session = _open(path)
            parity = verify_against_module(session, module, captured.arguments)
            graph = replace(graph, axes=_merge_limits(parity.limits, description.limits))
            graph = replace(graph, ragged=are_rows_apart(session, graph, parity.cases))
            original = (module, captured.arguments, parity.cases)
            part = add_stream(captured, graph, session, original, Path(staging), wish)
            generation = add_generator(part.stream, graph, original[:2], Path(staging), decoder)
    graphs = {"model": graph}
    if part.stream is not None:
        graphs["stream"] = part.stream.contract
    if part.step is not None:
        graphs["step"] = part.step.contract
    if generation.generator is not None:
        graphs["generate"] = generation.generator.contract
    contract = Contract(name or Path(out_dir).resolve().name, graphs, task, front_end, decoder)
    pipeline = add_pipeline(captured.model, contract, session, portable, generation.generator)
    if pipeline.graph is not None:
        contract = replace(contract, graphs={**graphs, "pipeline": pipeline.graph.contract})

    def fill(folder: Path) -> None:
        from rnn_edge.verification.golden import write_golden_set

        save_graph(captured.model, graph, folder / MODEL_FILE, contract)
        for number, case in enumerate(_choose_golden(parity.cases)):
            outputs = {
                spec.name: answer.truth.astype(answer.own.dtype)
                for spec, answer in zip(graph.outputs, case.answers, strict=True)
            }
            write_golden_set(folder, number, case.inputs, outputs)
        if part.stream is not None:
            path = folder / part.stream.contract.file
            save_graph(part.stream.model, part.stream.contract, path, contract)
            write_golden_chunks(folder, part.stream.contract, path, parity.cases[0].inputs)
        if part.step is not None:
            path = folder / part.step.contract.file
            save_graph(part.step.model, part.step.contract, path, contract)
        write_generator(folder, generation, contract)
        write_pipeline(folder, pipeline, contract)
        (folder / "README.md").write_text(render_readme(contract), encoding="utf-8")

    return write_bundle(
        out_dir, contract, _evidence(captured, parity, part, generation, pipeline), fill
    )


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


def _open(path: Path) -> Session:
    from rnn_edge.runtime import Session

    try:
        return Session(path, trusted=True)
    except InputError as error:
        found = re.search(r"implementation for (\w+)", str(error))
        missing = f"none for {found[1]} in its dtype" if found else "a refusal"
        raise ExportError(
            "every operator of a module must have a kernel in ONNX Runtime on the CPU to be "
            f"exported, got {missing}. Export the module in float32: call .float()."
        ) from error


def _describe(captured: Capture, description: Description) -> GraphContract:
    """The contract of the captured graph; the limits of its axes are not known yet."""
    known = {argument.name for argument in captured.arguments.tensors}
    known |= {str(value.name) for value in captured.model.graph.outputs}
    for what, names in (
        ("states", [*description.states, *description.states.values()]),
        ("bounds", description.bounds),
        ("meanings", description.meanings),
    ):
        unknown = sorted(set(names) - known)
        if unknown:
            raise ExportError(
                f"{what} must name inputs or outputs ({', '.join(sorted(known))}), "
                f"got {', '.join(unknown)}. Correct the names."
            )
    inputs = []
    for argument in captured.arguments.tensors:
        role = captured.roles.get(argument.name)
        low, high = description.bounds.get(
            argument.name, (role.minimum, role.maximum) if role else (None, None)
        )
        shape = argument.example.shape
        inputs.append(
            TensorSpec(
                argument.name,
                str(argument.example.dtype).removeprefix("torch."),
                tuple(a or int(n) for a, n in zip(argument.axes, shape, strict=True)),
                description.meanings.get(argument.name, ""),
                low,
                high,
                role.lengths_of if role else None,
            )
        )
    outputs = [_describe_output(value, description) for value in captured.model.graph.outputs]
    kept = {slot.name: slot for slot in captured.arguments.kept.slots}
    states = {**description.states, **{slot.name: slot.output for slot in kept.values()}}
    pairs = [
        _pair_states(inputs, source, target, kept[source].initial if source in kept else None)
        for source, target in states.items()
    ]
    return GraphContract(MODEL_FILE, tuple(inputs), tuple(outputs), tuple(pairs))


def _describe_output(value: ir.Value, description: Description) -> TensorSpec:
    assert value.name is not None
    assert value.dtype is not None
    assert value.shape is not None
    dims = tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape)
    meaning = description.meanings.get(value.name, "")
    return TensorSpec(value.name, str(value.dtype.numpy()), dims, meaning)


def _pair_states(
    inputs: Sequence[TensorSpec], source: str, target: str, initial: float | None
) -> StatePair:
    """``initial`` is known of a state that the module keeps on itself: rows may share that."""
    dims = next(spec.dims for spec in inputs if spec.name == source)
    batch_axes = [place for place, dim in enumerate(dims) if isinstance(dim, str)]
    if len(batch_axes) != 1 and (batch_axes or initial is None):
        raise ExportError(
            f"state {source!r} must have one named axis, its batch, got {list(dims)}. Correct axes."
        )
    return StatePair(source, target, batch_axes[0] if batch_axes else None, initial or 0.0)


def _merge_limits(
    found: Mapping[str, AxisLimits], given: Mapping[str, AxisLimits]
) -> dict[str, AxisLimits]:
    merged = {}
    for axis, limits in found.items():
        wish = given.get(axis, AxisLimits())
        upper = [size for size in (limits.maximum, wish.maximum) if size is not None]
        merged[axis] = AxisLimits(
            minimum=max(limits.minimum, wish.minimum),
            maximum=min(upper) if upper else None,
            trained_maximum=wish.trained_maximum,
        )
    return merged


def _choose_golden(cases: Sequence[Case]) -> list[Case]:
    """The usual case, the smallest, that with most rows, and the longest unless it is large."""
    by_size = sorted(cases, key=lambda case: sum(array.size for array in case.inputs.values()))
    longest = by_size.pop() if len(by_size) > 1 else by_size[0]
    most_rows = max(reversed(by_size), key=lambda case: case.sizes.get(BATCH_AXIS, 0))
    chosen = [cases[0], by_size[0], most_rows]
    arrays = [*longest.inputs.values(), *(answer.own for answer in longest.answers)]
    if sum(array.nbytes for array in arrays) <= _GOLDEN_BYTES:
        chosen.append(longest)
    return list({id(case): case for case in chosen}.values())


def _evidence(
    captured: Capture,
    parity: Parity,
    part: StreamPart,
    generation: GeneratePart,
    pipeline: PipelinePart,
) -> dict[str, Any]:
    return {
        "producer": f"rnn-edge {VERSION}",
        "versions": {package: _version(package) for package in _PACKAGES},
        "opset": captured.model.graph.opset_imports[""],
        "parity": asdict(parity.report),
        "stream": dict(part.evidence),
        "generate": dict(generation.evidence),
        "pipeline": dict(pipeline.evidence),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
