"""Bundle in, bundle with weights of fewer bits out, or the reason why not."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnn_edge.bundle import (
    MANIFEST,
    Bundle,
    golden_sets_in,
    refuse_foreign_folder,
    write_bundle,
)
from rnn_edge.bundle_readme import render_readme
from rnn_edge.contract import METADATA_KEY, GraphContract
from rnn_edge.errors import InputError, QuantizationError
from rnn_edge.extras import import_extra
from rnn_edge.quantization.comparison import (
    Drift,
    Loss,
    Timing,
    compare_answers,
    compare_chunks,
    compare_speed,
    compare_streams,
)
from rnn_edge.quantization.graph_losses import compare_graphs
from rnn_edge.quantization.task_metric import Score, TaskMetric
from rnn_edge.runtime import Session
from rnn_edge.runtime.pipeline_graph import PIPELINE
from rnn_edge.runtime.stream_graph import STEP, STREAM
from rnn_edge.verification.golden import read_golden_set, run_at, write_golden_set
from rnn_edge.verification.tolerance import tolerance_for

if TYPE_CHECKING:
    import onnx_ir as ir

#: int8 that is computed with, int8 and float16 that are stored alone.
FORMS = ("int8", "int8-stored", "float16")
_STORED = "-stored"
#: Units from which DynamicQuantizeLSTM is faster: over sequences, and at one step a call.
SEQUENCE_FROM, STEP_FROM = 64, 192
#: Weights from which a layer is faster as products by int8 and nodes: one step, and a Scan.
COMPOSED_STEP_FROM = {"RNN": 1 << 13, "GRU": 150_000, "LSTM": 1 << 16}
COMPOSED_SCAN_FROM = {"GRU": 3 << 16}


@dataclass(frozen=True)
class Quantized:
    """The new bundle, and what it costs and gains beside the float32 one.

    ``nodes`` counts, by graph, the layers that compute with int8, ``stored`` the weights that are
    merely stored with fewer bits. ``losses`` are those of the model's outputs, ``drifts`` of single
    steps of a stream, ``chunks`` of chunks of mixed sizes, ``graph_losses`` of what generate.onnx
    and pipeline.onnx give.
    """

    bundle: Bundle
    weights: str
    nodes: Mapping[str, int]
    stored: Mapping[str, int]
    losses: tuple[Loss, ...]
    drifts: tuple[Drift, ...]
    chunks: Loss | None
    graph_losses: tuple[Loss, ...]
    timings: tuple[Timing, ...]
    float_bytes: int
    quantised_bytes: int
    score: Score | None = None

    @property
    def drop(self) -> float:
        """What the task's measure loses, else the largest loss of an output, of all graphs."""
        if self.score is not None:
            return self.score.drop
        drops = [each.drop for each in self.all_losses]
        return max([*drops, *(each.drop for each in self.drifts[-1:])])

    @property
    def all_losses(self) -> list[Loss]:
        """Of outputs of all graphs, but for the drift of streams."""
        chunks = () if self.chunks is None else (self.chunks,)
        return [*self.losses, *chunks, *self.graph_losses]

    def to_dict(self) -> dict[str, Any]:
        data = asdict(replace(self, bundle=None))  # type: ignore[arg-type]
        data["timings"] = [{**asdict(each), "ratio": each.ratio} for each in self.timings]
        if self.score is not None:
            data["score"]["drop"] = self.score.drop
        return {**data, "bundle": str(self.bundle.path), "drop": self.drop}


def quantize(
    bundle: Bundle | str | Path,
    out_dir: str | Path,
    *,
    weights: str = "int8",
    max_drop: float = 0.02,
    checkpoint: str | Path | None = None,
    data: str | None = None,
) -> Quantized:
    """Write ``bundle`` with int8 or float16 weights to ``out_dir``, all its graphs.

    With "int8", LSTM layers of 64 units and more (192 in graphs for streams), GRU layers of 256
    and heads compute with int8, smaller ones too where a graph sees one step of one row, for which
    a graph is added; all other weights, embeddings among them, are stored as int8 and computed with
    in float32. With "int8-stored" all are: standard operators alone, and the choice for browsers,
    whose ONNX Runtime has no fast int8 products. ``max_drop`` is the most that an output may lose,
    as Loss measures it, on the golden inputs, on random ones, over 10,000 steps of a stream, in
    chunks of mixed sizes, and in what generate.onnx and pipeline.onnx give (compare_graphs).
    With ``checkpoint``, what the bundle was exported from, it is the most that the task's own
    measure may lose on its test data (or that of ``data``), as Score measures it; the other losses
    are told.

    Raises QuantizationError where nothing can be quantised or an output loses more; then nothing is
    written, and what is at ``out_dir`` stays.
    """
    import_extra("onnx_ir")
    source = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    if weights not in FORMS:
        raise InputError(f"weights must be one of {', '.join(FORMS)}, got {weights!r}. Choose one.")
    if not max_drop >= 0:
        raise InputError(f"max_drop must be at least 0, got {max_drop}. Raise it.")
    if "quantization" in source.evidence:
        raise QuantizationError(
            f"bundle {source.name} must hold float32 weights, it is quantised already. "
            "Give the bundle that it was made from."
        )
    if data is not None and checkpoint is None:
        raise InputError("data must come together with a checkpoint, got none. Give it.")
    refuse_foreign_folder(Path(out_dir))
    metric = None if checkpoint is None else TaskMetric(checkpoint, data)
    with tempfile.TemporaryDirectory(prefix="rnn-edge-quantize-") as staging:
        draft, nodes, stored = _write(source, Path(staging) / "draft", weights)
        streams = "stream" in source.contract.graphs
        result = Quantized(
            draft,
            weights,
            nodes,
            stored,
            tuple(compare_answers(source, draft)),
            tuple(compare_streams(source, draft)) if streams else (),
            compare_chunks(source, draft) if streams else None,
            tuple(compare_graphs(source, draft)),
            tuple(compare_speed(source, draft)),
            _graph_bytes(source),
            _graph_bytes(draft),
            None if metric is None else metric.compare(source, draft),
        )
        _hold_budget(result, max_drop)
        evidence = _evidence(source, result, max_drop)
        contract = replace(draft.contract, name=Path(out_dir).resolve().name)
        written = write_bundle(out_dir, contract, evidence, lambda to: _copy(draft.path, to))
    return replace(result, bundle=written)


def _write(
    source: Bundle, folder: Path, weights: str
) -> tuple[Bundle, dict[str, int], dict[str, int]]:
    """The quantised bundle, not yet held against the other; counts of what changed, by graph."""
    import onnx_ir as ir

    from rnn_edge.graphs.quantization import StoreWeights
    from rnn_edge.graphs.streaming import Stream, derive_single_row

    nodes, stored, models, graphs = {}, {}, {}, {}
    # A language model's pipeline steps; another's reads whole sequences, as its model does.
    whole = {"model"} if "generate" in source.contract.graphs else {"model", "pipeline"}
    originals = {
        name: Stream(ir.load(source.graph_path(name)), graph)
        for name, graph in source.contract.graphs.items()
    }
    added = set()
    if weights == "int8" and STREAM in originals and STEP not in originals:
        single = derive_single_row(originals[STREAM])
        if single is not None:
            originals[STEP], added = single, {STEP}
    for name, original in originals.items():
        model, changed, mixed = original.model, 0, 0
        if weights == "int8":
            changed, mixed = _compute_with_int8(
                model, SEQUENCE_FROM if name in whole else STEP_FROM
            )
            if name in added and not changed:
                continue
        rest = StoreWeights(weights.removesuffix(_STORED))
        rest(model)
        nodes[name], stored[name] = changed, rest.changed
        # Such a layer's scale is that of its whole batch: grouping rows would change answers.
        graphs[name] = replace(original.contract, ragged=original.contract.ragged and not mixed)
        model.metadata_props[METADATA_KEY] = graphs[name].to_json()
        models[name] = model
    if not any([*nodes.values(), *stored.values()]):
        raise QuantizationError(
            f"bundle {source.name} must hold float32 weights of 1024 numbers or more to be "
            "quantised, it holds none. Ship it as it is."
        )
    contract = replace(source.contract, graphs=graphs)

    def fill(to: Path) -> None:
        _copy(source.path, to)
        for name, model in models.items():
            ir.save(model, to / graphs[name].file)
        if PIPELINE in graphs:
            _answer_again(to / PIPELINE, graphs[PIPELINE])
        (to / "README.md").write_text(render_readme(contract), encoding="utf-8")

    return write_bundle(folder, contract, _kept(source), fill), nodes, stored


def _compute_with_int8(model: ir.Model, lstms_from: int) -> tuple[int, int]:
    """How many nodes do so now, and how many of them by one scale for all rows."""
    from rnn_edge.graphs.quantization import ComposeHeads, ComposeLayers, QuantizeLstms

    passes = (
        ComposeLayers(COMPOSED_STEP_FROM, COMPOSED_SCAN_FROM), QuantizeLstms(lstms_from),
        ComposeHeads(),
    )  # fmt: skip
    for each in passes:
        each(model)
    return sum(each.changed for each in passes), passes[1].changed


def _answer_again(folder: Path, graph: GraphContract) -> None:
    """Golden words of a pipeline have no tolerance: they become those that the new graph gives."""
    session = Session(folder.parent / graph.file, trusted=True)
    for number, place in enumerate(golden_sets_in(folder)):
        inputs, _ = read_golden_set(place, graph)
        shutil.rmtree(place)
        found = run_at(session, inputs)
        outputs = {spec.name: array for spec, array in zip(graph.outputs, found, strict=True)}
        write_golden_set(folder, number, inputs, outputs)


def _hold_budget(result: Quantized, max_drop: float) -> None:
    if result.score is not None:
        if not result.score.drop <= max_drop:
            raise _refusal(f"loss of {result.score.measure}", result.score.drop, max_drop)
        return
    for loss in result.all_losses:
        if not loss.drop <= max_drop:
            raise _refusal(f"{loss.kind} of {loss.output}", loss.drop, max_drop)
    for drift in result.drifts[-1:]:
        if not drift.drop <= max_drop:
            raise _refusal(f"relative error after {drift.steps:,} steps", drift.drop, max_drop)


def _refusal(what: str, drop: float, max_drop: float) -> QuantizationError:
    return QuantizationError(
        f"{what} must be at most {max_drop:.3g}, quantised it is {drop:.3g}. "
        "Raise --max-drop, or use float16 weights."
    )


def _evidence(source: Bundle, result: Quantized, max_drop: float) -> dict[str, Any]:
    """The float32 bundle's, with the errors of this one: its golden data are still torch's."""
    evidence = _kept(source)
    errors = {loss.output: loss.error for loss in result.losses}
    evidence["parity"] = {
        **evidence["parity"],
        "outputs": [_widened(o, errors.get(o["name"], 0.0)) for o in evidence["parity"]["outputs"]],
    }
    stream = evidence["stream"]
    if "outputs" in stream:
        chunks = result.chunks.error if result.chunks else 0.0
        worst = max([*errors.values(), chunks, *(each.error for each in result.drifts)])
        outputs = [{**_widened(o, worst), "bitwise": False} for o in stream["outputs"]]
        evidence["stream"] = {**stream, "outputs": outputs}
    report = result.to_dict()
    del report["bundle"]
    return {
        **evidence,
        "quantization": {**report, "source": source.checksum, "max_drop": max_drop},
    }


def _widened(output: Mapping[str, Any], error: float) -> dict[str, Any]:
    noise = max(float(output["noise"]), error)
    return {**output, "noise": noise, "error": noise, "tolerance": tolerance_for(noise, "float32")}


def _kept(source: Bundle) -> dict[str, Any]:
    own = ("format", "format_version", "contract", "files")
    return {name: value for name, value in source.evidence.items() if name not in own}


def _graph_bytes(bundle: Bundle) -> int:
    return sum(bundle.graph_path(name).stat().st_size for name in bundle.contract.graphs)


def _copy(source: Path, to: Path) -> None:
    for path in source.iterdir():
        if path.name == MANIFEST:
            continue
        if path.is_dir():
            shutil.copytree(path, to / path.name)
        else:
            shutil.copyfile(path, to / path.name)
