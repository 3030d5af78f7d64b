"""Every module of the collection: exported at one size, compared with eager torch at others.

Those that are causal are streamed as well. The modules take turns: one goes through
rnn_edge.export, the next through `rnn-edge export` with its file, weights and inputs in words;
`pytest tests/capture/test_collection.py --export-by command` (or api) takes one way for all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from collection.case import EXAMPLE_SIZES, UNSEEN_SIZES, Case
from collection.catalogue import CASES, FAMILIES
from collection.command import declare_inputs, export_command
from collection.failing import FAILING
from collection.streaming import REFUSED, TIME_AXES

import rnn_edge
from rnn_edge.cli.main import program
from rnn_edge.contract import GraphContract
from rnn_edge.verification.chunks import take_frames, time_axis_of


def parameters() -> Iterator[object]:
    for place, (name, case) in enumerate(CASES.items()):
        reason = FAILING.get(name, "")
        mark = pytest.mark.xfail(strict=True, reason=reason)
        turn = ("api", "command")[place % 2]
        yield pytest.param(name, case, turn, id=name, marks=[mark] if reason else [])


@pytest.mark.parametrize(("name", "case", "turn"), list(parameters()))
def test_case_equals_eager_torch_at_unseen_sizes(
    name: str, case: Case, turn: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    way = pytestconfig.getoption("export_by") or turn
    export_case = {"api": export_by_api, "command": export_by_command}[way]
    bundle = export_case(name, case, tmp_path)
    session = rnn_edge.Session(bundle)
    names = [spec.name for spec in bundle.graph().inputs]
    for batch, steps in UNSEEN_SIZES:
        tensors = case.tensors(batch, steps)
        feed = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
        expected = case.expect(batch, steps)
        found = session.run(feed)
        assert len(found) == len(expected)
        for array, tensor in zip(found, expected, strict=True):
            assert case.deviation(torch.from_numpy(array), tensor) <= case.tolerance

    said = bundle.evidence["stream"].get("refused", "")
    assert re.search(REFUSED[name], said) if name in REFUSED else not said, said
    if name not in REFUSED:
        compare_stream(case, bundle)


def export_by_api(name: str, case: Case, folder: Path) -> rnn_edge.Bundle:
    args, kwargs = case.inputs(*EXAMPLE_SIZES)
    return rnn_edge.export(
        case.module(), args, folder / "bundle", kwargs=kwargs, axes=case.axes(),
        time_axis=TIME_AXES.get(name),
    )  # fmt: skip


def export_by_command(name: str, case: Case, folder: Path) -> rnn_edge.Bundle:
    axis = ["--time-axis", TIME_AXES[name]] if name in TIME_AXES else []
    result = CliRunner().invoke(program, [*export_command(name, case, folder), *axis])
    assert result.exit_code == 0, result.stderr
    return rnn_edge.Bundle.load(folder / "bundle")


def compare_stream(case: Case, bundle: rnn_edge.Bundle) -> None:
    """Push one row in chunks; inputs of lengths and given states are the export's own to check."""
    stream, graph = rnn_edge.StreamSession(bundle), bundle.graph()
    if graph.states or not {spec.name for spec in graph.inputs} <= given(stream.contract):
        return
    rule = stream.contract.stream
    assert rule is not None
    batch, steps = 1, 9
    pairs = zip(graph.inputs, case.tensors(batch, steps), strict=True)
    feed = {spec.name: tensor.numpy() for spec, tensor in pairs}
    chunks = cut(stream.contract, feed, [1, 4, 1, 3])
    parts = [stream.push(chunk) for chunk in chunks]
    answers = case.expect(batch, steps)
    specs = [stream.contract.output(spec.name) for spec in graph.outputs]
    for place, (spec, answer) in enumerate(zip(specs, answers, strict=True)):
        pieces, axis = [part[place] for part in parts], time_axis_of(spec, rule)
        found = pieces[-1] if axis is None else np.concatenate(pieces, axis)
        expected = take_frames(spec, rule, answer.numpy(), found)
        assert axis is None or answer.shape[axis] - found.shape[axis] <= rule.latency
        deviation = case.deviation(torch.from_numpy(found), torch.from_numpy(expected))
        assert deviation <= case.tolerance, spec.name


def given(contract: GraphContract) -> set[str]:
    """The inputs of a stream graph that an app gives."""
    names = {spec.name for spec in contract.inputs} - contract.state_inputs
    return names - {contract.stream.reset if contract.stream else None}


def cut(
    contract: GraphContract, feed: Mapping[str, np.ndarray], sizes: Sequence[int]
) -> Iterator[dict[str, np.ndarray]]:
    """Chunks of so many frames along the axis of time, and the rest after them."""
    rule = contract.stream
    assert rule is not None
    axes = {s.name: s.dims.index(rule.axis) for s in contract.inputs if rule.axis in s.dims}
    length = next(feed[name].shape[axis] for name, axis in axes.items() if name in feed)
    ends = [*accumulate(sizes, initial=0), max(length, sum(sizes))]
    for start, end in pairwise(ends):
        if start < length:
            yield {
                name: np.take(array, range(start, min(end, length)), axes[name])
                if name in axes
                else array
                for name, array in feed.items()
            }


def test_every_module_has_a_name_of_its_own() -> None:
    assert len(CASES) == sum(map(len, FAMILIES.values()))


def test_what_fails_and_what_is_refused_are_cases() -> None:
    assert {*FAILING, *REFUSED, *TIME_AXES} <= CASES.keys()


def test_nested_inputs_are_declared_by_their_place() -> None:
    (case,) = (case for case in FAMILIES["containers"] if case.title() == "DictInput")
    assert declare_inputs(case) == [
        "batch.series:float32[batch,sequence,5]",
        "batch.static:float32[batch,3]",
    ]
