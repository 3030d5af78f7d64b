"""A bundle is quantised whole, within a budget, or not at all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from torch import Tensor, nn

import rnn_edge
from rnn_edge.bundle import golden_sets_in
from rnn_edge.checkpoint import Checkpoint
from rnn_edge.cli.main import program
from rnn_edge.contract import CharacterFrontEnd, LabelDecoder, NextCharacterDecoder
from rnn_edge.errors import InputError, IntegrationError, QuantizationError
from rnn_edge.integration import integrate
from rnn_edge.models.language_model import LstmLanguageModel
from rnn_edge.models.text_classifier import TextClassifier
from rnn_edge.quantization import quantizing
from rnn_edge.quantization.task_metric import Score, TaskMetric
from rnn_edge.verification.golden import read_golden_set


class Speech(nn.Module):
    """Embedding, LSTM of 192 units, GRU, head."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 32)
        self.first = nn.LSTM(32, 192, batch_first=True)
        self.second = nn.GRU(192, 24, batch_first=True)
        self.head = nn.Linear(24, 50)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.second(self.first(self.table(tokens))[0])[0])


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> tuple[Speech, rnn_edge.Bundle]:
    torch.manual_seed(0)
    module = Speech().eval()
    bundle = rnn_edge.export(
        module,
        torch.randint(0, 40, (2, 6)),
        tmp_path_factory.mktemp("speech") / "speech",
        axes=[("batch", "sequence")],
        bounds={"tokens": (0, 39)},
        stream=True,
    )
    return module, bundle


@pytest.fixture(scope="module")
def quantised(speech, tmp_path_factory):
    _, bundle = speech
    return rnn_edge.quantize(bundle, tmp_path_factory.mktemp("q") / "small", max_drop=0.05)


def test_all_graphs_are_quantised_and_near_torch(speech, quantised):
    module, bundle = speech
    assert set(quantised.nodes) == set(bundle.contract.graphs)
    assert all(count == 1 for count in quantised.nodes.values())
    assert all(count >= 4 for count in quantised.stored.values())
    assert quantised.quantised_bytes < 0.4 * quantised.float_bytes
    tokens = np.random.default_rng(0).integers(0, 40, (3, 21))
    with torch.no_grad():
        expected = module(torch.from_numpy(tokens)).numpy()
    whole = rnn_edge.Session(quantised.bundle).run(tokens)[0]
    stream = rnn_edge.StreamSession(quantised.bundle, batch=3)
    parts = [stream.push(tokens[:, n : n + 1])[0] for n in range(21)]
    for found in (whole, np.concatenate(parts, 1)):
        error = float(np.sqrt(np.mean((found - expected) ** 2)) / expected.std())
        assert 1e-6 < error < 0.05


def test_the_evidence_is_in_the_bundle_and_holds(quantised):
    bundle = rnn_edge.Bundle.load(quantised.bundle.path)
    evidence = bundle.evidence["quantization"]
    assert evidence["drop"] == quantised.drop <= evidence["max_drop"]
    assert [drift["steps"] for drift in evidence["drifts"]] == [10, 100, 1_000, 10_000]
    assert rnn_edge.verify(bundle).worst_ratio <= 1
    schema = json.loads((Path(rnn_edge.__file__).parent / "bundle.schema.json").read_text())
    manifest = json.loads((bundle.path / "bundle.json").read_text())
    Draft202012Validator(schema).validate(manifest)
    assert ir.load(bundle.graph_path()).opset_imports["com.microsoft"] == 1


def test_more_than_the_budget_is_refused_and_nothing_written(speech, tmp_path):
    with pytest.raises(QuantizationError, match="must be at most 1e-05, quantised it is"):
        rnn_edge.quantize(speech[1], tmp_path / "none", max_drop=1e-5)
    assert not (tmp_path / "none").exists()


def test_twice_is_refused(quantised, tmp_path):
    with pytest.raises(QuantizationError, match="quantised already"):
        rnn_edge.quantize(quantised.bundle, tmp_path / "none")


def test_nothing_to_quantise_is_refused(tmp_path):
    bundle = rnn_edge.export(
        nn.GRU(2, 3, batch_first=True),
        torch.randn(2, 4, 2),
        tmp_path / "tiny",
        axes=[("batch", "sequence", None)],
        stream=False,
    )
    with pytest.raises(QuantizationError, match="it holds none"):
        rnn_edge.quantize(bundle, tmp_path / "none")


class Marked(nn.Module):
    """Scores, and the likeliest of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(16, 32, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.core(x)[0]
        return y, y.argmax(-1)


def test_whole_numbers_among_the_answers_count_by_those_that_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    axes = [("batch", "sequence", None)]
    x = torch.randn(2, 5, 16)
    bundle = rnn_edge.export(Marked().eval(), x, tmp_path / "b", axes=axes, stream=False)
    monkeypatch.setattr(quantizing, "compare_speed", lambda *_: [])
    found = rnn_edge.quantize(bundle, tmp_path / "q", max_drop=0.1)
    numbers, places = found.losses
    assert (places.kind, places.error) == ("values changed", 0)
    assert places.drop < 0.1
    tolerance = found.bundle.evidence["parity"]["outputs"][0]["tolerance"]
    assert tolerance >= numbers.error > 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, rnn_edge.Bundle]:
    folder = tmp_path_factory.mktemp("trained")
    found = rnn_edge.train("forecast", output=folder / "run", epochs=2, hidden_size=24)
    deployment = found.deployment()
    given = {f.name: getattr(deployment, f.name) for f in dataclasses.fields(deployment)}
    args = given.pop("args")
    return found, rnn_edge.export(
        found.module, args, folder / "bundle", task="forecast", stream=False, **given
    )


def test_the_budget_may_be_of_the_task_s_own_measure(trained, tmp_path, monkeypatch):
    checkpoint, bundle = trained
    found = rnn_edge.quantize(bundle, tmp_path / "q", max_drop=0.5, checkpoint=checkpoint.path)
    score = found.score
    test = checkpoint.task.load(None, 0).test
    right = checkpoint.task.evaluate(checkpoint.module, test)["mse"]
    assert score.measure == "mse"
    assert score.float_value == pytest.approx(right, rel=1e-4)
    assert score.quantised_value != score.float_value
    assert found.drop == pytest.approx(score.quantised_value / score.float_value - 1)
    evidence = json.loads((found.bundle.path / "bundle.json").read_text())["quantization"]
    assert evidence["score"]["drop"] == found.drop
    lost = Score("mse", 0.5, 0.6, higher_is_better=False)
    monkeypatch.setattr(TaskMetric, "compare", lambda *_: lost)
    with pytest.raises(QuantizationError, match=r"loss of mse must be at most 0.1, .* is 0.2"):
        rnn_edge.quantize(bundle, tmp_path / "none", max_drop=0.1, checkpoint=checkpoint.path)
    assert not (tmp_path / "none").exists()


def test_a_checkpoint_of_another_task_is_refused(trained, speech, tmp_path):
    with pytest.raises(InputError, match="it is of task forecast, the bundle of none"):
        rnn_edge.quantize(speech[1], tmp_path / "none", checkpoint=trained[0].path)
    with pytest.raises(InputError, match="data must come together with a checkpoint"):
        rnn_edge.quantize(speech[1], tmp_path / "none", data="sine")


@pytest.mark.parametrize(("higher", "drop"), [(True, 0.1), (False, -0.2)])
def test_a_loss_is_a_difference_or_a_growth(higher: bool, drop: float) -> None:
    assert Score("", 0.5, 0.4, higher).drop == pytest.approx(drop)


def test_command(speech, tmp_path):
    arguments = ["quantize", str(speech[1].path), "-o", str(tmp_path / "half")]
    result = CliRunner().invoke(program, [*arguments, "--weights", "float16", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["drop"] < 2e-3
    assert 0.45 < report["quantised_bytes"] / report["float_bytes"] < 0.6
    assert rnn_edge.Bundle.load(tmp_path / "half").name == "half"


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> rnn_edge.Bundle:
    torch.manual_seed(0)
    options = {"cell": "lstm", "embedding_size": 8, "hidden_size": 64}
    vocabulary = ("<pad>", "<unk>", *"abcde")
    return rnn_edge.export(
        TextClassifier(len(vocabulary), 2, **options).eval(),
        (torch.arange(24).reshape(3, 8) % 7, torch.tensor([5, 8, 2])),
        tmp_path_factory.mktemp("labelled") / "source",
        axes=[("batch", "sequence"), ("batch",)],
        bounds={"tokens": (0, 6)},
        front_end=CharacterFrontEnd(vocabulary, 1, 0),
        decoder=LabelDecoder(("no", "yes")),
        stream=False,
    )


def test_raw_input_is_answered_as_by_the_quantised_model(
    labelled: rnn_edge.Bundle, tmp_path: Path
) -> None:
    found = rnn_edge.quantize(labelled, tmp_path / "small", max_drop=0.1)
    (loss,) = found.graph_losses
    assert (loss.output, loss.kind) == ("label of pipeline.onnx", "values changed")
    assert loss.drop < 0.1
    assert 1e-7 < loss.error < 0.05
    small = found.bundle
    assert small.graph_path("pipeline").stat().st_size < 50_000
    ids = np.array([[2, 3, 4, 6, 1, 2]])
    logits = rnn_edge.Session(small).run(ids, np.array([6]))[0]
    found = rnn_edge.Session(small, graph="pipeline").run_named({"text": ["abce?a"]})
    (place,) = golden_sets_in(small.path / "pipeline")
    inputs, expected = read_golden_set(place, small.graph("pipeline"))
    again = rnn_edge.Session(small, graph="pipeline").run_named(inputs)
    for name, array in expected.items():
        assert again[name].tolist() == array.tolist()
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> rnn_edge.Bundle:
    torch.manual_seed(0)
    options = {"cell": "lstm", "embedding_size": 8, "hidden_size": 192}
    vocabulary = ("<pad>", "<unk>", *"abcde")
    module = LstmLanguageModel(len(vocabulary), **options).eval()
    return rnn_edge.export(
        module,
        (torch.arange(24).reshape(3, 8) % 7, *module.initial_state(3)),
        tmp_path_factory.mktemp("language") / "source",
        axes=[("batch", "sequence"), *[(None, "batch", None)] * 2],
        states={"h_0": "h_n", "c_0": "c_n"},
        output_names=["logits", "h_n", "c_n"],
        bounds={"tokens": (0, 6)},
        front_end=CharacterFrontEnd(vocabulary, 1, 0),
        decoder=NextCharacterDecoder((0, 1)),
    )


def test_a_loop_that_writes_shares_weights_with_an_int8_layer(
    language: rnn_edge.Bundle, tmp_path: Path
) -> None:
    source = language
    small = rnn_edge.quantize(source, tmp_path / "small", max_drop=0.1)
    assert small.nodes["pipeline"]
    losses = {each.output: each for each in small.graph_losses}
    names = [f"log-probabilities of {file}.onnx" for file in ("generate", "pipeline")]
    assert [*losses] == names
    evidence = json.loads((small.bundle.path / "bundle.json").read_text())["quantization"]
    assert [each["output"] for each in evidence["graph_losses"]] == names
    for each in small.graph_losses:
        assert 1e-6 < each.drop < 0.1
        assert 1e-6 < each.error < 0.1
    feed = {"prompt": ["abcab"], "seed": np.array([1]), "temperature": 0.0, "max_new": 5}
    found, expected = (
        rnn_edge.Session(bundle, graph="pipeline").run_named(feed)
        for bundle in (small.bundle, source)
    )
    assert found["text"].tolist() == expected["text"].tolist()
    name = "log_probabilities"
    np.testing.assert_allclose(found[name], expected[name], atol=2e-2)


@pytest.mark.parametrize(
    ("fixture", "file", "refused"),
    [
        ("language", "generate.onnx", "relative error of log-probabilities of generate.onnx"),
        ("language", "pipeline.onnx", "relative error of log-probabilities of pipeline.onnx"),
        ("labelled", "pipeline.onnx", "values changed of label of pipeline.onnx"),
    ],
)
def test_a_graph_that_is_wrong_alone_is_refused(
    fixture: str,
    file: str,
    refused: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = request.getfixturevalue(fixture)
    (name,) = [name for name, graph in bundle.contract.graphs.items() if graph.file == file]
    outputs = [spec.name for spec in bundle.graph(name).outputs]
    compute = quantizing._compute_with_int8

    def spoil(model: ir.Model, lstms_from: int) -> tuple[int, int]:
        if [value.name for value in model.graph.outputs] == outputs:
            for value in model.graph.initializers.values():
                array = value.const_value.numpy()
                if array.dtype == np.float32 and array.ndim:
                    value.const_value = ir.tensor(-array, name=value.name)
        return compute(model, lstms_from)

    monkeypatch.setattr(quantizing, "_compute_with_int8", spoil)
    monkeypatch.setattr(quantizing, "compare_speed", lambda *_: [])
    with pytest.raises(QuantizationError, match=rf"{refused} must be at most 0\.1, quantised"):
        rnn_edge.quantize(bundle, tmp_path / "none", max_drop=0.1)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_single_steps_get_a_graph_that_computes_with_int8(kind, tmp_path):
    torch.manual_seed(1)
    layer = getattr(nn, kind)(64, 272, batch_first=True).eval()
    axes = [("batch", "sequence", None)]
    bundle = rnn_edge.export(layer, torch.randn(2, 5, 64), tmp_path / "b", axes=axes, stream=True)
    assert "step" not in bundle.contract.graphs
    found = rnn_edge.quantize(bundle, tmp_path / "q")
    quantised = rnn_edge.Bundle.load(found.bundle.path)
    assert found.nodes == {"model": 1, "stream": 1, "step": 1}
    assert "MatMulNBits" in {n.op_type for n in ir.load(quantised.graph_path("step")).graph}
    assert rnn_edge.verify(quantised).worst_ratio <= 1
    x = torch.randn(1, 19, 64)
    with torch.no_grad():
        expected = layer(x)[0].numpy()
    stream = rnn_edge.StreamSession(quantised)
    parts = [stream.push(x[:, n : n + 1].numpy())[0] for n in range(12)]
    parts += [stream.push(x[:, n:m].numpy())[0] for n, m in ((12, 16), (16, 17), (17, 19))]
    error = np.concatenate(parts, 1) - expected
    # Chunks of any size, step.onnx and stream.onnx in turn, keep within what verify goes by.
    assert found.chunks.output == "stream, chunks of 1 to 16"
    assert 1e-6 < found.chunks.drop < 0.02
    measure = quantised.evidence["stream"]["outputs"][0]["tolerance"]
    assert measure >= max(found.chunks.error, *(each.error for each in found.drifts))
    assert np.abs(error).max() <= measure
    assert 1e-6 < np.sqrt(np.mean(error**2)) / expected.std() < 0.02


def test_weights_that_are_only_stored_keep_to_standard_operators(speech, tmp_path):
    found = rnn_edge.quantize(speech[1], tmp_path / "q", weights="int8-stored", max_drop=0.05)
    assert not any(found.nodes.values())
    assert found.stored["model"] >= 5
    assert found.quantised_bytes < 0.4 * found.float_bytes
    integrate(found.bundle, "c99", tmp_path / "c")
    for name in found.bundle.contract.graphs:
        assert "com.microsoft" not in ir.load(found.bundle.graph_path(name)).opset_imports


def test_c_is_written_of_the_float32_bundle_alone(quantised, tmp_path):
    with pytest.raises(IntegrationError, match=r"LSTM .* Give the float32 bundle, .*--int8"):
        integrate(quantised.bundle, "c99", tmp_path / "c")
