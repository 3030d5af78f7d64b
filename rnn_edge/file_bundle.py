"""A bundle of an .onnx file that came from elsewhere: the file, its pipeline, its stream."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rnn_edge.bundle import Bundle, refuse_foreign_folder, write_bundle
from rnn_edge.bundle_readme import render_readme
from rnn_edge.contract import Contract, Decoder, FrontEnd, NextCharacterDecoder
from rnn_edge.errors import ExportError, InputError, RnnEdgeError
from rnn_edge.exported import versions_of
from rnn_edge.extras import import_extra
from rnn_edge.file_cases import FileOracle, file_cases
from rnn_edge.generating import GeneratePart, never_without_text, prove_generator, write_generator
from rnn_edge.graphs.streaming import Stream
from rnn_edge.pipeline_file import PipelineDraft, draft_pipeline
from rnn_edge.pipelining import add_pipeline, write_pipeline
from rnn_edge.runtime.batches import Layout
from rnn_edge.scales import Scales
from rnn_edge.sound_features import SoundFeatures
from rnn_edge.stream_file import StreamFile, derive_stream
from rnn_edge.streaming import save_graph, write_golden_chunks
from rnn_edge.verification.cases import Case
from rnn_edge.verification.golden import write_golden_set
from rnn_edge.verification.report import OutputParity, ParityReport
from rnn_edge.verification.tolerance import tolerance_for
from rnn_edge.version import VERSION

_ORACLE = "the file's own answers"
_PACKAGES = ("onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy")
_STREAM = "stream"


def write_file_bundle(
    source: str | Path,
    out_dir: str | Path,
    *,
    front_end: FrontEnd | SoundFeatures | Scales | None,
    decoder: Decoder | Scales,
    lengths: str | None = None,
    axes: Mapping[str, str] | None = None,
    states: Mapping[str, str] | None = None,
    portable: bool = False,
) -> Bundle:
    """Write a bundle of an .onnx file, which stays as it is; the options are derive_pipeline()'s.

    It holds pipeline.onnx, and stream.onnx where every answer needs past frames alone; else
    ``stream`` in bundle.json says why not. Of a language model, whose ``decoder`` reads next
    characters, it holds generate.onnx too; ``states`` pairs inputs with the outputs that feed them
    in the next call. The golden data are the file's own answers. Raises InputError, ExportError,
    BundleError.
    """
    refuse_foreign_folder(Path(out_dir))
    onnx_ir = import_extra("onnx_ir")
    with tempfile.TemporaryDirectory() as folder:
        staging = Path(folder)
        draft = draft_pipeline(
            source, staging, front_end, decoder, lengths, axes or {}, portable, states
        )
        file, told = _stream_of(draft, staging)
        stream = None if file is None else Stream(onnx_ir.load(file.path), file.contract)
        draft, generation = _generator_of(draft, stream, staging, portable)
        if draft.part.graph is None:
            raise ExportError(
                str(draft.part.evidence["refused"])
                if generation.generator is not None or not _writes(draft)
                else str(generation.evidence["refused"])
            )
        graphs = {**draft.contract.graphs, "pipeline": draft.part.graph.contract}
        for name, made in ((_STREAM, stream), ("generate", generation.generator)):
            if made is not None:
                graphs[name] = made.contract
        contract = replace(draft.contract, name=Path(out_dir).resolve().name, graphs=graphs)
        whole = _Made(draft, contract, _cases(draft), stream, generation)
        evidence = {**whole.evidence, _STREAM: told}
        return write_bundle(out_dir, contract, evidence, whole.fill)


def _writes(draft: PipelineDraft) -> bool:
    return isinstance(draft.contract.decoder, NextCharacterDecoder)


def _generator_of(
    draft: PipelineDraft, stream: Stream | None, staging: Path, portable: bool
) -> tuple[PipelineDraft, GeneratePart]:
    """The draft of a language model with its pipeline, and what continues ids; others stay."""
    contract = draft.contract
    graph = contract.graphs["model"]
    decoder = never_without_text(contract.decoder, contract.front_end, graph)
    oracle = FileOracle(draft.session)
    generation = prove_generator(stream, Stream(draft.model, graph), oracle, staging, decoder)
    if generation.generator is None:
        return draft, generation
    contract = replace(contract, decoder=decoder)
    part = add_pipeline(draft.model, contract, draft.session, portable, generation)
    return replace(draft, contract=contract, part=part), generation


def _stream_of(draft: PipelineDraft, staging: Path) -> tuple[StreamFile | None, dict[str, Any]]:
    layout = Layout.of(draft.session.contract)
    if layout.sequence is None:
        return None, {"refused": "no axis of time"}
    # A file for one row alone has no name for the axis of rows.
    batch = layout.batch if isinstance(layout.batch, str) else None
    try:
        found = derive_stream(
            draft.session.path, staging / "stream", axis=layout.sequence, batch=batch
        )
    except RnnEdgeError as error:
        return None, {"refused": str(error)}
    return found, found.report.to_dict()


def _cases(draft: PipelineDraft) -> Sequence[Case]:
    session = draft.session
    layout = Layout.of(session.contract)
    cases = list(file_cases(session, session.contract, (layout.sequence or "", None), "batch"))
    if not cases:
        raise InputError(
            f"{draft.contract.name} must run on random inputs to have golden data, it refused all "
            "sizes. Name its axes (--axis)."
        )
    return cases


@dataclass(frozen=True)
class _Made:
    """A bundle that is not written yet."""

    draft: PipelineDraft
    contract: Contract
    cases: Sequence[Case]
    stream: Stream | None
    generation: GeneratePart

    def fill(self, folder: Path) -> None:
        graph = self.contract.graphs["model"]
        save_graph(self.draft.model, graph, folder / graph.file, self.contract)
        names = [spec.name for spec in graph.outputs]
        for number, case in enumerate(self.cases):
            answers = dict(zip(names, (answer.own for answer in case.answers), strict=True))
            write_golden_set(folder, number, case.inputs, answers)
        if self.stream is not None:
            contract = self.stream.contract
            save_graph(self.stream.model, contract, folder / contract.file, self.contract)
            write_golden_chunks(folder, contract, folder / contract.file, self.cases[0].inputs)
        write_generator(folder, self.generation, self.contract)
        write_pipeline(folder, self.draft.part, self.contract)
        (folder / "README.md").write_text(render_readme(self.contract), encoding="utf-8")

    @property
    def evidence(self) -> dict[str, Any]:
        model = self.draft.model
        return {
            "producer": f"rnn-edge {VERSION}",
            "versions": versions_of(_PACKAGES),
            "opset": model.graph.opset_imports[""],
            "parity": asdict(self._parity()),
            "generate": dict(self.generation.evidence),
            "pipeline": dict(self.draft.part.evidence),
        }

    def _parity(self) -> ParityReport:
        """Without errors: the answers are the truth. Noise is what another rounding changes."""
        outputs = []
        for place, spec in enumerate(self.contract.graphs["model"].outputs):
            is_float = spec.dtype.startswith("float")
            noises = [case.answers[place].sensitivity() if is_float else 0.0 for case in self.cases]
            worst = max(noises)
            sizes = self.cases[noises.index(worst)].sizes
            tolerance = tolerance_for(worst, spec.dtype) if is_float else 0.0
            outputs.append(OutputParity(spec.name, 0.0, worst, tolerance, sizes))
        return ParityReport(_ORACLE, tuple(case.sizes for case in self.cases), tuple(outputs))
