"""What three exporters, and `rnn-edge export`, make of the recurrent modules in tests/collection.

Every module is exported at one size by each exporter, in a process of its own with a time limit.
Each file is then judged in the same way: onnxruntime at sizes that nobody has seen, against the
eager module.

    python tools/bench/export_coverage.py --output coverage.json
    python tools/bench/export_coverage.py --only cells --exporter rnn-edge
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from click.testing import CliRunner
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils import _pytree as pytree

import rnn_edge
from rnn_edge.cli.main import program

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from collection.case import EXAMPLE_SIZES, UNSEEN_SIZES, Case, Input
from collection.catalogue import CASES, FAMILIES
from collection.command import export_command

RIGHT, REFUSED, BROKEN, WRONG = "right", "refused", "broken", "wrong"
VERDICTS = (RIGHT, REFUSED, BROKEN, WRONG)


@dataclass(frozen=True)
class Result:
    """``seconds`` is what the export took; ``detail`` says what went wrong."""

    family: str
    case: str
    exporter: str
    verdict: str
    detail: str
    seconds: float


def export_by_rnn_edge(case: Case, folder: Path) -> tuple[Path, None]:
    args, kwargs = case.inputs(*EXAMPLE_SIZES)
    bundle = rnn_edge.export(
        case.module(), args, folder / "bundle", kwargs=kwargs, axes=case.axes()
    )
    return bundle.graph_path(), None


def export_by_dynamo(case: Case, folder: Path) -> tuple[Path, list[str]]:
    """As torch.onnx documents it: Dim.DYNAMIC for every axis that varies."""
    module, (args, kwargs) = case.module(), case.inputs(*EXAMPLE_SIZES)
    dynamic = pytree.tree_map(
        lambda leaf: _dynamic_dims(leaf, torch.export.Dim.DYNAMIC),
        (case.args, dict(case.kwargs)),
    )
    bound = inspect.signature(module.forward).bind(*dynamic[0], **dynamic[1])
    names, path = _input_names(case), folder / "model.onnx"
    torch.onnx.export(
        module, args, path, kwargs=kwargs, dynamo=True, input_names=names,
        dynamic_shapes=dict(bound.arguments), verbose=False,
    )  # fmt: skip
    return path, names


def export_by_tracing(case: Case, folder: Path) -> tuple[Path, list[str]]:
    """The deprecated exporter, with dynamic_axes."""
    args, kwargs = case.inputs(*EXAMPLE_SIZES)
    if isinstance(args[-1], dict):
        args = (*args, {})  # its documentation: otherwise a last dict is taken for keywords
    names, path = _input_names(case), folder / "model.onnx"
    axes = {
        name: {dim: str(axis) for dim, axis in enumerate(leaf.dims) if isinstance(axis, str)}
        for name, leaf in zip(names, _input_leaves(case), strict=True)
    }
    torch.onnx.export(
        case.module(), args, str(path), kwargs=kwargs, dynamo=False, input_names=names,
        dynamic_axes=axes, opset_version=18,
    )  # fmt: skip
    return path, names


def export_by_command(case: Case, folder: Path) -> tuple[Path, None]:
    """The same through `rnn-edge export`: a Python file, a file of weights, inputs in words."""
    title = next(name for name, each in CASES.items() if each is case)
    result = CliRunner().invoke(program, export_command(title, case, folder))
    if result.exit_code:
        raise RuntimeError(result.stderr)
    return rnn_edge.Bundle.load(folder / "bundle").graph_path(), None


EXPORTERS: dict[str, Callable[[Case, Path], tuple[Path, list[str] | None]]] = {
    "rnn-edge": export_by_rnn_edge,
    "command": export_by_command,
    "dynamo=True": export_by_dynamo,
    "dynamo=False": export_by_tracing,
}


def _input_leaves(case: Case) -> list[Input]:
    leaves = pytree.tree_leaves((case.args, dict(case.kwargs)))
    return [leaf for leaf in leaves if isinstance(leaf, Input)]


def _input_names(case: Case) -> list[str]:
    return [f"input_{place}" for place in range(len(_input_leaves(case)))]


def _dynamic_dims(leaf: Any, dynamic: Any) -> Any:
    if not isinstance(leaf, Input):
        return None
    return {dim: dynamic for dim, axis in enumerate(leaf.dims) if isinstance(axis, str)}


def judge(case: Case, path: Path, names: Sequence[str] | None) -> tuple[str, str]:
    """(verdict, detail) of a file; its inputs are in the order of the case's, or have ``names``."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 (onnxruntime raises a class of its own for each fault)
        return BROKEN, f"does not load: {_one_line(error)}"
    inputs = [value.name for value in session.get_inputs()]
    for batch, steps in UNSEEN_SIZES:
        where = f"at batch {batch}, {steps} steps"
        tensors = dict(zip(names or inputs, case.tensors(batch, steps), strict=True))
        try:
            arrays = session.run(None, {name: tensors[name].numpy() for name in inputs})
        except Exception as error:  # noqa: BLE001 (as above)
            return BROKEN, f"does not run {where}: {_one_line(error)}"
        problem = _find_problem(case, arrays, case.expect(batch, steps))
        if problem:
            return WRONG, f"{problem} {where}"
    return RIGHT, ""


def _find_problem(case: Case, arrays: Sequence[np.ndarray], expected: Sequence[Tensor]) -> str:
    if len(arrays) != len(expected):
        return f"{len(arrays)} outputs instead of {len(expected)}"
    for place, (array, tensor) in enumerate(zip(arrays, expected, strict=True)):
        if array.shape != tensor.shape:
            return f"output {place} has shape {list(array.shape)}, not {list(tensor.shape)}"
        error = case.deviation(torch.from_numpy(array), tensor)
        if error > case.tolerance:
            return f"output {place} is off by {error:.2g}"
    return ""


def measure(family: str, case: Case, exporter: str, limit: float) -> Result:
    """One export, judged, in a process of its own that may crash or hang."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(case, exporter, there))
    start = time.perf_counter()
    child.start()
    there.close()
    try:
        verdict, detail, seconds = (
            here.recv()
            if here.poll(limit)
            else (REFUSED, f"not done after {limit:.0f} s", time.perf_counter() - start)
        )
    except EOFError:
        child.join()
        verdict, seconds = REFUSED, time.perf_counter() - start
        detail = f"the process ended with {child.exitcode}"
    child.kill()
    child.join()
    return Result(family, case.title(), exporter, verdict, detail, round(seconds, 2))


def _work(case: Case, exporter: str, answer: Connection) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    torch.set_num_threads(1)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            path, names = EXPORTERS[exporter](case, Path(folder))
        except Exception as error:  # noqa: BLE001 (what an exporter raises is the measurement)
            answer.send((REFUSED, _one_line(error), time.perf_counter() - start))
            return
        seconds = time.perf_counter() - start
        answer.send((*judge(case, path, names), seconds))


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 400 else text[:400] + "..."


def tabulate(results: Sequence[Result]) -> Table:
    """Cases by family; each exporter's right, refused, broken and wrong ones."""
    exporters = list(dict.fromkeys(result.exporter for result in results))
    families = list(dict.fromkeys(result.family for result in results))
    table = Table(title="right / refused / broken / wrong")
    table.add_column("family")
    table.add_column("cases", justify="right")
    for exporter in exporters:
        table.add_column(exporter, justify="right")
    for family in (*families, "all"):
        chosen = [result for result in results if family in (result.family, "all")]
        cells = []
        for exporter in exporters:
            counts = Counter(r.verdict for r in chosen if r.exporter == exporter)
            cells.append(" / ".join(str(counts[verdict]) for verdict in VERDICTS))
        cases = len({(result.family, result.case) for result in chosen})
        table.add_row(family, str(cases), *cells, end_section=family == families[-1])
    medians = (
        statistics.median(result.seconds for result in results if result.exporter == exporter)
        for exporter in exporters
    )
    table.add_row("median seconds", "", *(f"{median:.2f}" for median in medians))
    return table


def load_exporters() -> None:
    """Let every exporter do once what it does in its first call, so that no case pays for it.

    A module without recurrence does it: exports of recurrent layers are known to influence later
    ones of the same process.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    importlib.import_module("rnn_edge.capture")
    importlib.import_module("rnn_edge.verification.against_module")
    linear, example = torch.nn.Linear(2, 2).eval(), torch.randn(3, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "linear.onnx"
        torch.onnx.export(linear, (example,), path, dynamo=True, verbose=False)
        rnn_edge.export(linear, example, Path(folder) / "linear", axes=[("batch", None)])


def _report(result: Result) -> Result:
    line = f"{result.family} {result.case} {result.exporter}: {result.verdict} {result.detail}"
    print(line, file=sys.stderr, flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=FAMILIES, action="append", help="a family; may repeat")
    parser.add_argument("--exporter", choices=EXPORTERS, action="append", help="may repeat")
    parser.add_argument("--workers", type=int, default=1, help="processes at a time")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds an export may take")
    parser.add_argument("--output", type=Path, help="write all results to this JSON file")
    options = parser.parse_args()
    load_exporters()
    wanted = [
        (family, case, exporter)
        for family in options.only or FAMILIES
        for case in FAMILIES[family]
        for exporter in options.exporter or EXPORTERS
    ]

    def measure_one(job: tuple[str, Case, str]) -> Result:
        family, case, exporter = job
        return _report(measure(family, case, exporter, options.limit))

    with ThreadPoolExecutor(options.workers) as pool:
        results = list(pool.map(measure_one, wanted))
    Console().print(tabulate(results))
    if options.output:
        text = json.dumps([asdict(result) for result in results], indent=1)
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
