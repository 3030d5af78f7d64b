"""What an export has made, all of it verified: its contract, its evidence and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnn_edge.bundle_readme import render_readme
from rnn_edge.contract import Contract, GraphContract
from rnn_edge.generating import GeneratePart, write_generator
from rnn_edge.pipelining import PipelinePart, write_pipeline
from rnn_edge.streaming import StreamPart, save_graph, write_golden_chunks
from rnn_edge.verification.shapes import BATCH_AXIS
from rnn_edge.version import VERSION

if TYPE_CHECKING:
    from rnn_edge.capture import Capture
    from rnn_edge.verification.cases import Case
    from rnn_edge.verification.parity import Parity

_PACKAGES = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy")
# Golden data of a very long case would outweigh the model.
_GOLDEN_BYTES = 2**20


@dataclass(frozen=True)
class Exported:
    """The graphs of a bundle that is not written yet; ``contract`` speaks of all of them."""

    captured: Capture
    graph: GraphContract
    parity: Parity
    stream: StreamPart
    generation: GeneratePart
    pipeline: PipelinePart
    contract: Contract

    def fill(self, folder: Path) -> None:
        """Write every graph with its golden data, and the README, into ``folder``."""
        save_graph(self.captured.model, self.graph, folder / self.graph.file, self.contract)
        self._write_golden(folder)
        for part in (self.stream.stream, self.stream.step):
            if part is not None:
                save_graph(part.model, part.contract, folder / part.contract.file, self.contract)
        if self.stream.stream is not None:
            contract = self.stream.stream.contract
            write_golden_chunks(
                folder, contract, folder / contract.file, self.parity.cases[0].inputs
            )
        write_generator(folder, self.generation, self.contract)
        write_pipeline(folder, self.pipeline, self.contract)
        (folder / "README.md").write_text(render_readme(self.contract), encoding="utf-8")

    def _write_golden(self, folder: Path) -> None:
        from rnn_edge.verification.golden import write_golden_set

        for number, case in enumerate(_choose_golden(self.parity.cases)):
            outputs = {
                spec.name: answer.truth.astype(answer.own.dtype)
                for spec, answer in zip(self.graph.outputs, case.answers, strict=True)
            }
            write_golden_set(folder, number, case.inputs, outputs)

    @property
    def evidence(self) -> dict[str, Any]:
        """What bundle.json says of how the files came to be and of how right they are."""
        return {
            "producer": f"rnn-edge {VERSION}",
            "versions": versions_of(_PACKAGES),
            "opset": self.captured.model.graph.opset_imports[""],
            "parity": asdict(self.parity.report),
            "stream": dict(self.stream.evidence),
            "generate": dict(self.generation.evidence),
            "pipeline": dict(self.pipeline.evidence),
        }


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """What is installed of them, "unknown" where that cannot be told."""
    return {package: _version(package) for package in packages}


def graphs_of(
    graph: GraphContract, stream: StreamPart, generation: GeneratePart
) -> dict[str, GraphContract]:
    """The contracts by the names that bundle.json gives them."""
    made = {"stream": stream.stream, "step": stream.step, "generate": generation.generator}
    found = {name: part.contract for name, part in made.items() if part is not None}
    return {"model": graph, **found}


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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
