"""export(): what is in the bundle, and what it finds out by itself."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.contract import METADATA_KEY, AxisLimits, Contract, GraphContract
from rnn_edge.errors import BundleError, ExportError, InputError


class Speller(nn.Module):
    """Ids in, logits and carried state out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(11, 4)
        self.core = nn.LSTM(4, 6, 2, batch_first=True)
        self.head = nn.Linear(6, 11)

    def forward(self, tokens: Tensor, h_0: Tensor, c_0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (h_n, c_n) = self.core(self.embedding(tokens), (h_0, c_0))
        return self.head(y), h_n, c_n


def export_speller(folder: Path, **options: Any) -> rnn_edge.Bundle:
    state = torch.zeros(2, 3, 6)
    return rnn_edge.export(
        Speller(),
        (torch.randint(0, 11, (3, 5)), state, state),
        folder,
        axes=[("batch", "sequence"), (None, "batch", None), (None, "batch", None)],
        output_names=["logits", "h_n", "c_n"],
        states={"h_0": "h_n", "c_0": "c_n"},
        **options,
    )


@pytest.fixture(scope="module")
def speller(tmp_path_factory: pytest.TempPathFactory) -> rnn_edge.Bundle:
    return export_speller(
        tmp_path_factory.mktemp("export") / "speller",
        meanings={"tokens": "character ids"},
        limits={"sequence": AxisLimits(trained_maximum=40)},
    )


def test_contract_tells_tensors_states_bounds_and_limits(speller: rnn_edge.Bundle) -> None:
    graph = speller.graph()
    assert [str(spec) for spec in graph.inputs] == [
        "tokens: int64[batch, sequence]",
        "h_0: float32[2, batch, 6]",
        "c_0: float32[2, batch, 6]",
    ]
    assert [str(spec) for spec in graph.outputs] == [
        "logits: float32[batch, sequence, 11]",
        "h_n: float32[2, batch, 6]",
        "c_n: float32[2, batch, 6]",
    ]
    tokens = graph.input("tokens")
    assert (tokens.minimum, tokens.maximum, tokens.meaning) == (0, 10, "character ids")
    assert [(p.input, p.output, p.batch_axis, p.initial) for p in graph.states] == [
        ("h_0", "h_n", 1, 0),
        ("c_0", "c_n", 1, 0),
    ]
    assert graph.axes == {
        "batch": AxisLimits(),
        "sequence": AxisLimits(trained_maximum=40),
    }


def test_file_carries_its_own_contract(speller: rnn_edge.Bundle) -> None:
    model = onnx.load(speller.graph_path())
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert GraphContract.from_json(metadata[METADATA_KEY]) == speller.graph()
    assert Contract.from_metadata(metadata) == replace(
        speller.contract, graphs={"model": speller.graph()}
    )


def test_file_is_standard_and_tells_nothing_of_the_authors_machine(
    speller: rnn_edge.Bundle,
) -> None:
    model = onnx.load(speller.graph_path())
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain for entry in model.opset_import} == {""}
    data = speller.graph_path().read_bytes()
    assert str(Path(__file__).parent).encode() not in data
    assert b"site-packages" not in data


def test_layers_and_weights_are_named_after_the_module(speller: rnn_edge.Bundle) -> None:
    graph = onnx.load(speller.graph_path()).graph
    assert [n.name for n in graph.node if n.op_type == "LSTM"] == ["core.layer_0", "core.layer_1"]
    weights = {tensor.name for tensor in graph.initializer}
    assert {"embedding.weight", "core.layer_0.W", "core.layer_1.R", "head.bias"} <= weights


def test_state_carried_in_pieces_equals_one_run(speller: rnn_edge.Bundle) -> None:
    session = rnn_edge.Session(speller)
    tokens = np.random.default_rng(0).integers(0, 11, (2, 12))
    (whole, *_), state = session.run({"tokens": tokens}), {}
    pieces = []
    for part in (tokens[:, :1], tokens[:, 1:7], tokens[:, 7:]):
        logits, h_n, c_n = session.run({"tokens": part, **state})
        state = {"h_0": h_n, "c_0": c_n}
        pieces.append(logits)
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole, rtol=0, atol=1e-6)


def test_golden_data_are_what_torch_answers(speller: rnn_edge.Bundle) -> None:
    sets = speller.golden_sets()
    assert len(sets) == 4
    exact = Speller().double()
    for place in sets:
        inputs, outputs = (
            [
                onnx.numpy_helper.to_array(onnx.load_tensor(path))
                for path in sorted(place.glob(f"{kind}_*.pb"))
            ]
            for kind in ("input", "output")
        )
        tokens, *states = (torch.from_numpy(array.copy()) for array in inputs)
        with torch.no_grad():
            expected = exact(tokens, *(state.double() for state in states))
        for found, truth in zip(outputs, expected, strict=True):
            np.testing.assert_array_equal(found, truth.numpy().astype(np.float32))


def test_readme_snippet_runs(speller: rnn_edge.Bundle) -> None:
    text = (speller.path / "README.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0] + "print(logits.shape, h_n.shape)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=speller.path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "(2, 8, 11) (2, 2, 6)\n"


def run_stream_snippet(bundle: rnn_edge.Bundle, show: str) -> str:
    text = (bundle.path / "README.md").read_text(encoding="utf-8")
    code = text.partition("## Streaming")[2].split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print({show})"],
        cwd=bundle.path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_readme_streams_with_states_that_the_module_takes(speller: rnn_edge.Bundle) -> None:
    shown = run_stream_snippet(speller, "answers['logits'].shape, state['c_0'].tolist()")
    tokens, states = torch.zeros(1, 12, dtype=torch.int64), [torch.zeros(2, 1, 6)] * 2
    with torch.no_grad():
        _, _, c_n = Speller().double()(tokens, *(state.double() for state in states))
    shape, _, state = shown.partition(") ")
    assert shape == "(1, 4, 11"
    np.testing.assert_allclose(json.loads(state), c_n, rtol=0, atol=1e-6)


class Filtered(nn.Module):
    """A convolution of the past and a GRU on what has changed since the first frame."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv1d(2, 3, 3)
        self.core = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        padded = torch.nn.functional.pad((x - x[:, :1]).transpose(1, 2), (2, 0))
        return self.core(self.conv(padded).transpose(1, 2))[0]


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> rnn_edge.Bundle:
    folder = tmp_path_factory.mktemp("export") / "filtered"
    axes = [("batch", "sequence", None)]
    return rnn_edge.export(Filtered(), torch.randn(2, 9, 2), folder, axes=axes, output_names=["y"])


def test_readme_streams_with_states_of_the_file_s_own(filtered: rnn_edge.Bundle) -> None:
    shown = run_stream_snippet(filtered, "answers['y'].tolist()")
    with torch.no_grad():
        whole = Filtered().double()(torch.zeros(1, 12, 2, dtype=torch.float64))
    np.testing.assert_allclose(json.loads(shown), whole[:, 8:], rtol=0, atol=1e-6)


def test_readme_tells_the_state_rule(filtered: rnn_edge.Bundle, speller: rnn_edge.Bundle) -> None:
    graph = filtered.graph("stream")
    text = (filtered.path / "README.md").read_text(encoding="utf-8")
    rules = text.partition("## Streaming")[2].partition("```")[0]
    assert all(
        f"`{pair.input}` starts at 0, then `{pair.output}`" in rules for pair in graph.states
    )
    assert graph.stream is not None
    assert f"`{graph.stream.reset}` is true for the rows that start" in rules
    assert len([line for line in rules.splitlines() if line.startswith("- ")]) == 5
    other = (speller.path / "README.md").read_text(encoding="utf-8").partition("## Streaming")[2]
    assert "a row starts a sequence when its states have their initial values" in other


def test_a_model_that_looks_ahead_has_no_stream_section(tmp_path: Path) -> None:
    module = nn.GRU(2, 3, bidirectional=True, batch_first=True)
    axes = [("batch", "sequence", None)]
    bundle = rnn_edge.export(module, torch.randn(2, 5, 2), tmp_path / "b", axes=axes)
    assert "Streaming" not in (bundle.path / "README.md").read_text(encoding="utf-8")
    assert "bidirectional" in bundle.evidence["stream"]["refused"]


def test_limits_are_found_by_asking_the_module(tmp_path: Path) -> None:
    class Strided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(3, 4, 5)
            self.position = nn.Parameter(torch.randn(1, 40, 3))
            self.core = nn.GRU(4, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.position[:, : x.shape[1]]
            return self.core(self.conv(x.transpose(1, 2)).transpose(1, 2))[0]

    bundle = rnn_edge.export(
        Strided(), torch.randn(2, 9, 3), tmp_path / "b", axes=[("batch", "sequence", None)]
    )
    assert bundle.graph().axes["sequence"] == AxisLimits(minimum=5, maximum=40)
    session = rnn_edge.Session(bundle)
    for size in (4, 41):
        with pytest.raises(rnn_edge.RnnEdgeError, match="sequence"):
            session.run(np.zeros((1, size, 3), np.float32))


def test_module_is_left_as_it_was(tmp_path: Path) -> None:
    module = nn.LSTM(3, 4, 2, dropout=0.5, batch_first=True)
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    rnn_edge.export(module, torch.randn(2, 5, 3), tmp_path / "b", axes=[("batch", "time", None)])
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert torch.get_default_dtype() is torch.float32
    y, _ = module(torch.ones(1, 3, 3))
    y.sum().backward()
    assert module.weight_ih_l0.grad is not None


def test_other_configurations_in_one_process_keep_their_axes(tmp_path: Path) -> None:
    """torch's own exporter freezes the time axis of a second LSTM of another configuration."""
    for number, options in enumerate(
        [{"num_layers": 1}, {"num_layers": 2}, {"bidirectional": True}, {"num_layers": 1}]
    ):
        for cell in (nn.LSTM, nn.GRU):
            module = cell(3, 4, batch_first=True, **options)
            bundle = rnn_edge.export(
                module,
                torch.randn(2, 4, 3),
                tmp_path / f"{cell.__name__}{number}",
                axes=[("batch", "sequence", None)],
            )
            found = rnn_edge.Session(bundle).run(np.zeros((1, 17, 3), np.float32))[0]
            assert found.shape[:2] == (1, 17)


def test_two_threads_may_export_at_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(2):
                export_speller(tmp_path / str(number), name="speller")
        except BaseException as error:  # noqa: BLE001 (told to the main thread)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    one, other = (json.loads((tmp_path / n / "bundle.json").read_text()) for n in "01")
    assert one["files"]["model.onnx"] == other["files"]["model.onnx"]


def test_no_module_runs_while_another_thread_traces(tmp_path: Path) -> None:
    """Tracing patches nn.Module for the whole process, so that a run beside it sees the patches."""
    tracing = threading.Event()
    disturbed: list[bool] = []

    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = nn.GRU(3, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            if type(x) is not Tensor:
                tracing.set()
                time.sleep(0.05)
                y = self.core(x)[0]
                tracing.clear()
                return y
            disturbed.append(tracing.is_set())
            return self.core(x)[0]

    def work(name: str) -> None:
        axes = [("batch", "sequence", None)]
        for _ in range(2):
            rnn_edge.export(Slow(), torch.randn(2, 5, 3), tmp_path / name, axes=axes)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert disturbed
    assert not any(disturbed)


def test_folder_that_holds_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="holds something else"):
        export_speller(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_float64_oracle_gives_way_where_the_module_makes_float32(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = nn.GRU(3, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.core(x.to(torch.float32))[0]

    bundle = rnn_edge.export(
        Scaled(), torch.randn(2, 5, 3), tmp_path / "b", axes=[("batch", "sequence", None)]
    )
    assert bundle.evidence["parity"]["oracle"] == "float32 torch"


def test_tensors_that_forward_makes_are_float64_for_the_oracle(tmp_path: Path) -> None:
    class FromZero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = nn.GRU(3, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.core(x, torch.zeros(1, x.shape[0], 4))[0] * torch.tensor(0.5)

    bundle = rnn_edge.export(
        FromZero(), torch.randn(2, 5, 3), tmp_path / "b", axes=[("batch", "sequence", None)]
    )
    assert bundle.evidence["parity"]["oracle"] == "float64 torch"
    assert torch.get_default_dtype() is torch.float32


def test_a_size_refused_for_another_axis_is_no_limit(tmp_path: Path) -> None:
    """Batch 5 is tried at sequence 1 and 2 alone, which a convolution of width 3 refuses."""

    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.core = nn.Conv1d(3, 4, 3), nn.GRU(4, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.core(self.conv(x.transpose(1, 2)).transpose(1, 2))[0]

    bundle = rnn_edge.export(
        Narrow(), torch.randn(2, 9, 3), tmp_path / "b", axes=[("batch", "sequence", None)]
    )
    assert bundle.graph().axes == {"batch": AxisLimits(), "sequence": AxisLimits(minimum=3)}
    assert 5 in {case["batch"] for case in bundle.evidence["parity"]["cases"]}


def test_a_stream_that_cannot_be_checked_keeps_itself_away_and_not_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a state is no number on random inputs."""

    def refuse(*_: object) -> None:
        raise InputError("h_0[0, 0] must be finite, got nan. Remove or fill the gaps.")

    monkeypatch.setattr("rnn_edge.verification.against_module.verify_stream_against_module", refuse)
    module, axes = nn.GRU(3, 4, batch_first=True), [("batch", "sequence", None)]
    bundle = rnn_edge.export(module, (torch.rand(2, 6, 3),), tmp_path / "gru", axes=axes)
    assert "must be finite" in bundle.evidence["stream"]["refused"]
    with pytest.raises(InputError, match="must be finite"):
        rnn_edge.export(module, (torch.rand(2, 6, 3),), tmp_path / "two", axes=axes, stream=True)
    assert not (tmp_path / "two").exists()


def test_loop_that_cannot_be_written_out_keeps_the_stream_away_and_not_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing a loop of fixed length out is tried for the stream's sake alone."""
    home = importlib.import_module("rnn_edge.capture.capture")
    true_capture = home.capture

    def refuse() -> None:
        raise ExportError("every operator must have an ONNX form, got another. Replace it.")

    def capture(*args: Any, **options: Any) -> Any:
        return replace(true_capture(*args, **options), write_out=refuse)

    monkeypatch.setattr("rnn_edge.capture.capture", capture)
    module = nn.GRU(3, 4, batch_first=True, bidirectional=True)
    axes = [("batch", "sequence", None)]
    bundle = rnn_edge.export(module, torch.zeros(2, 5, 3), tmp_path / "b", axes=axes)
    assert "GRU" in bundle.evidence["stream"]["refused"]
