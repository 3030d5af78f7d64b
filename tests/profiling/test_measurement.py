"""One whole profile run, small; never an absolute time."""

import json
from pathlib import Path

import pytest
import torch
from test_engines import LanguageModel

import rnn_edge
from rnn_edge.bundle import Bundle
from rnn_edge.errors import InputError, VerificationError
from rnn_edge.profiling import Profile
from rnn_edge.profiling.byte_limit import reading_us
from rnn_edge.profiling.histogram import draw_latencies, save_histogram
from rnn_edge.profiling.inputs import Point
from rnn_edge.profiling.peers import PlainEngine

FEW = {"calls": 20, "seconds": 5.0, "processes": 1}


@pytest.fixture(scope="module")
def result(language_bundle: Bundle) -> Profile:
    return rnn_edge.profile(
        language_bundle,
        batches=[1, 2],
        sequences=[3],
        against="torch",
        module=LanguageModel(),
        calls=20,
        processes=1,
    )


def test_every_engine_is_measured_at_every_point(result: Profile) -> None:
    found = [(latency.engine, latency.point, latency.calls) for latency in result.latencies]
    assert found == [
        (engine, Point(batch, 3), 20)
        for batch in (1, 2)
        for engine in ("onnxruntime", "torch", "torch-no-onednn")
    ]


def test_ratio_is_of_medians_at_the_same_point(result: Profile) -> None:
    ours, torch_eager = result.latencies[3:5]
    assert result.ratio(ours) == 1
    expected = torch_eager.percentile_us(50) / ours.percentile_us(50)
    assert result.ratio(torch_eager) == pytest.approx(expected)


def test_document_is_json_with_every_part(result: Profile) -> None:
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert len(document["latency"]) == 6
    assert {"p50_us", "p90_us", "p99_us", "p99_9_us", "ratio"} < set(document["latency"][0])
    assert document["cold_start"][0]["processes"] == 1
    assert document["memory"][0]["engine"] == "onnxruntime"
    assert document["operators"]["batch"] == 2
    assert set(document["versions"]) == {"rnn-edge", "python", "onnxruntime", "torch"}


def test_sizes_are_those_of_the_files(result: Profile, language_bundle: Bundle) -> None:
    assert result.model_bytes == (language_bundle.path / "model.onnx").stat().st_size
    files = [path for path in language_bundle.path.rglob("*") if path.is_file()]
    assert result.bundle_bytes == sum(path.stat().st_size for path in files)


def test_lone_file_is_measured_too(image_bundle: Bundle) -> None:
    result = rnn_edge.profile(image_bundle.path / "model.onnx", batches=[2], **FEW)
    assert result.name == "model.onnx"
    assert result.bundle_bytes is None
    assert [latency.point for latency in result.latencies] == [Point(2, None)]


def test_other_module_is_refused_before_it_is_timed(language_bundle: Bundle) -> None:
    module = LanguageModel()
    module.head.data *= 2
    stages: list[str] = []
    with pytest.raises(VerificationError):
        rnn_edge.profile(
            language_bundle, against="torch", module=module, progress=stages.append, **FEW
        )
    assert stages == ["latency at batch 1, sequence 1"]


def test_against_without_a_module_is_refused(language_bundle: Bundle) -> None:
    with pytest.raises(InputError, match="together with a module"):
        rnn_edge.profile(language_bundle, against=["stock", "torch"])


def test_others_that_are_not_known_are_named(language_bundle: Bundle) -> None:
    with pytest.raises(InputError, match=r"some of torch, stock, openvino, got 'tract'"):
        rnn_edge.profile(language_bundle, against=["stock", "tract"])


def test_the_exporter_of_torch_is_a_peer(result: Profile, language_bundle: Bundle) -> None:
    found = rnn_edge.profile(
        language_bundle, batches=[2], sequences=[3, 5], against=["stock", "torch"],
        module=LanguageModel(), **FEW,
    )  # fmt: skip
    engines = ("onnxruntime", "torch", "torch-no-onednn", "stock")
    points = [(latency.engine, latency.point) for latency in found.latencies]
    assert points == [(engine, Point(2, time)) for time in (3, 5) for engine in engines]


class Shrinking(LanguageModel):
    """What torch.export does not take: a Python number out of values."""

    def forward(self, tokens: torch.Tensor, h_0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if tokens.sum().item() > -1:
            return super().forward(tokens, h_0)
        return h_0, h_0


def test_a_peer_that_cannot_run_the_model_is_left_out(language_bundle: Bundle) -> None:
    found = rnn_edge.profile(
        language_bundle, batches=[2], sequences=[3], against=["torch", "stock"],
        module=Shrinking(), **FEW,
    )  # fmt: skip
    engines = [latency.engine for latency in found.latencies]
    assert engines == ["onnxruntime", "torch", "torch-no-onednn"]
    assert found.left_out["stock"].startswith("torch.onnx.export must take the module")


def test_the_file_itself_is_a_peer_in_plain_settings(language_bundle: Bundle) -> None:
    pytest.importorskip("openvino")
    found = rnn_edge.profile(
        language_bundle, batches=[2], sequences=[1, 4], against=["stock", "openvino"], **FEW
    )
    engines = ("onnxruntime", "stock", "openvino")
    assert [latency.engine for latency in found.latencies] == [*engines, *engines]
    assert "openvino" in found.versions


def test_a_peer_with_other_answers_is_left_out(
    language_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlainEngine, "answers", lambda self, found: [2 * each for each in found])
    found = rnn_edge.profile(language_bundle, batches=[2], sequences=[3], against="stock", **FEW)
    assert [latency.engine for latency in found.latencies] == ["onnxruntime"]
    assert "onnxruntime and stock must give the same answers" in found.left_out["stock"]


def test_the_byte_limit_is_of_the_weights_that_a_call_reads(
    result: Profile, language_bundle: Bundle
) -> None:
    state = LanguageModel().state_dict()
    each = sum(v.numel() for k, v in state.items() if "weight_hh" in k)
    tables = sum(v.numel() for k, v in state.items() if "table" in k)
    limit = result.byte_limit
    assert limit is not None
    assert limit.step_bytes == 4 * each
    whole = 4 * (sum(v.numel() for v in state.values()) - tables - each)
    assert whole <= limit.once_bytes <= whole + 4096  # and constants of the graph itself
    ours = result.latencies[0]
    assert result.over_limit(ours) == ours.percentile_us(50) / result.limits_us[ours.point]


def test_more_bytes_take_longer_to_read() -> None:
    assert reading_us(0) == 0
    assert reading_us(1 << 22) > reading_us(1 << 18) > 0


@pytest.mark.parametrize("number", ["threads", "calls", "processes"])
def test_number_below_1_is_refused(language_bundle: Bundle, number: str) -> None:
    with pytest.raises(InputError, match=f"{number} must be at least 1, got 0"):
        rnn_edge.profile(language_bundle, **{number: 0})


def test_picture_has_a_panel_a_point_and_a_legend_entry_an_engine(result: Profile) -> None:
    panels = [panel for panel in draw_latencies(result).axes if panel.axison]
    assert [panel.get_title() for panel in panels] == ["batch 1, sequence 3", "batch 2, sequence 3"]
    labels = [text.get_text().partition(":")[0] for text in panels[0].get_legend().get_texts()]
    assert labels == ["onnxruntime", "torch", "torch-no-onednn"]


def test_picture_is_a_png(result: Profile, tmp_path: Path) -> None:
    save_histogram(result, tmp_path / "latency.png")
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize("name", ["latency.jpeg2", "latency", "no/such/folder/latency.png"])
def test_picture_that_cannot_be_written_is_refused(
    result: Profile, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError, match="the plot must be"):
        save_histogram(result, tmp_path / name)
