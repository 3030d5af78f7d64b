"""The fastest candidate is kept, for this machine and bundle alone, and used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stream_bundles
import tiny_bundles
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnn_edge
from rnn_edge import tuning
from rnn_edge.bundle import Bundle
from rnn_edge.c99 import library
from rnn_edge.cli.main import program
from rnn_edge.errors import InputError
from rnn_edge.quantization import comparison, quantizing
from rnn_edge.runtime.native_batch import NativeBatch
from rnn_edge.runtime.stream_batch import StreamBatch
from rnn_edge.runtime.tuning import Tuning, read_tuning, tuning_path, write_tuning

with_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler"
)


@pytest.fixture
def gru(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv(library.CACHE_VARIABLE, str(tmp_path / "cache"))
    return stream_bundles.write_recurrent(tmp_path / "gru", "GRU", reset=True)


def times(monkeypatch: pytest.MonkeyPatch, **microseconds: float) -> None:
    """Let each candidate, by the first word of its name, take so long."""

    def time_engines(engines, make_feed, **_: object) -> dict[str, np.ndarray]:
        for engine in engines:
            engine.call(engine.prepare(make_feed()))
        return {
            each.name: np.full(
                5, 1000 * microseconds["n" + each.name.partition(" ")[0].rstrip(",")]
            )
            for each in engines
        }

    monkeypatch.setattr(tuning, "time_engines", time_engines)


@with_compiler
def test_the_fastest_engine_is_kept_and_used(gru: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    times(monkeypatch, nonnxruntime=8, nc=2)
    result = rnn_edge.tune(gru, stream=True, batch=2)
    assert result.best.name == "c"
    assert result.gain == 4
    assert result.path == gru.path.with_name("gru.tuning.json")
    (native,) = [each for each in result.candidates if each.name == "c"]
    assert 0 < native.loss < 1e-6
    stream = rnn_edge.StreamSession(gru)
    assert isinstance(stream._require_rows(), NativeBatch)
    x = np.random.default_rng(1).normal(size=(1, 7, 2)).astype(np.float32)
    expected = stream_bundles.recurrent_answer("GRU", x[0])
    np.testing.assert_allclose(stream.push(x)[0][0], expected, atol=2e-6)
    told = rnn_edge.StreamSession(gru, engine="onnxruntime")
    assert isinstance(told._require_rows(), StreamBatch)


@with_compiler
def test_a_small_gain_does_not_change_the_default(
    gru: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    times(monkeypatch, nonnxruntime=8, nc=7.9)
    assert rnn_edge.tune(gru, stream=True).best.name == "onnxruntime"
    assert read_tuning(gru).engine == "onnxruntime"


@with_compiler
def test_weights_of_8_bits_are_tried_within_the_budget_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(library.CACHE_VARIABLE, str(tmp_path / "cache"))
    axes = [("batch", "sequence", None)]
    core = nn.GRU(16, 32, batch_first=True)
    bundle = rnn_edge.export(core, torch.randn(2, 5, 16), tmp_path / "wide", axes=axes)
    times(monkeypatch, **{"nonnxruntime": 8, "nonnxruntime-int8": 7, "nc": 2, "nc-int8": 1})
    strict = rnn_edge.tune(bundle, stream=True, max_drop=1e-5)
    assert strict.best.name == "c"
    assert "it loses" in strict.left_out["c-int8"]
    free = rnn_edge.tune(bundle, stream=True, max_drop=0.1)
    assert free.best.name == "c-int8"
    assert 1e-5 < free.best.loss < 0.1


@with_compiler
def test_a_tuned_engine_that_has_gone_is_left_out_with_a_warning(
    gru: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tuning(gru, Tuning(engine="c"))
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.warns(UserWarning, match="engine 'c', tuned here, is left out: CC must name"):
        stream = rnn_edge.StreamSession(gru)
    assert isinstance(stream._require_rows(), StreamBatch)


def test_threads_and_groups_are_kept_and_used(
    ragged: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = {1, 2}
    monkeypatch.setattr("os.sched_getaffinity", lambda process: cores, raising=False)

    def time_engines(engines, make_feed, **_: object) -> dict[str, np.ndarray]:
        feed = make_feed()
        assert sorted(feed["lengths"].tolist()) == [1, 2, 9]
        assert feed["x"].shape[:2] == (3, 9)
        return {
            each.name: np.full(3, 1e3 * (2 if "2 threads" in each.name else 5)
                               * (1 if "one run" in each.name else 2))
            for each in engines
        }  # fmt: skip

    monkeypatch.setattr(tuning, "time_engines", time_engines)
    result = rnn_edge.tune(ragged, lengths=[9, 1, 2])
    assert [each.name for each in result.candidates] == [
        f"{threads}, rows in {way}{option}"
        for way in ("groups", "one run")
        for threads, options in (
            ("1 thread", ("", ", arena", ", pattern")),
            ("2 threads", ("", ", arena", ", spinning", ", pattern")),
        )
        for option in options
    ]  # fmt: skip
    assert read_tuning(ragged) == Tuning(threads=2, groups=False, options=())
    session = rnn_edge.Session(ragged)
    assert session._ragged is None
    assert session.native.get_session_options().intra_op_num_threads == 2
    told = rnn_edge.Session(ragged, threads=1, groups=True)
    assert told._ragged is not None
    assert told.native.get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize("option", ["arena", "spinning", "pattern"])
def test_an_option_that_pays_is_kept_and_used(
    ragged: Bundle, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {1, 2}, raising=False)

    def time_engines(engines, make_feed, **_: object) -> dict[str, np.ndarray]:
        return {each.name: np.full(3, 1e3 * (1 if option in each.name else 2)) for each in engines}

    monkeypatch.setattr(tuning, "time_engines", time_engines)
    rnn_edge.tune(ragged, batch=2)
    assert read_tuning(ragged).options == (option,)
    options = rnn_edge.Session(ragged).native.get_session_options()
    spins = options.get_session_config_entry("session.intra_op.allow_spinning")
    assert options.enable_cpu_mem_arena == (option == "arena")
    assert options.enable_mem_pattern == (option in ("arena", "pattern"))
    assert spins == str(int(option == "spinning"))
    plain = rnn_edge.Session(ragged, options=()).native.get_session_options()
    assert not plain.enable_cpu_mem_arena
    with pytest.raises(
        InputError, match="options must be among arena, spinning, pattern, got 'pool'"
    ):
        rnn_edge.Session(ragged, options=["pool"])


def test_a_stream_is_tuned_for_its_chunk(gru: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    seen: list[int] = []

    def time_engines(engines, make_feed, **_: object) -> dict[str, np.ndarray]:
        seen.extend(each.prepare(make_feed())[0].shape[1] for each in engines)
        return {each.name: np.full(3, 1e3) for each in engines}

    monkeypatch.setattr(tuning, "time_engines", time_engines)
    rnn_edge.tune(gru, stream=True, chunk=5)
    assert set(seen) == {5}


@pytest.mark.parametrize(
    ("winner", "step", "arena"),
    [("onnxruntime, stream.onnx", False, False), ("onnxruntime, arena", True, True)],
)
def test_a_form_of_the_stream_that_pays_is_kept_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, winner: str, step: bool, arena: bool
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    bundle = stream_bundles.write_recurrent(tmp_path / "lstm", "LSTM", reset=False, step=True)

    def time_engines(engines, make_feed, **_: object) -> dict[str, np.ndarray]:
        return {each.name: np.full(3, 1e3 * (1 + (each.name != winner))) for each in engines}

    monkeypatch.setattr(tuning, "time_engines", time_engines)
    assert rnn_edge.tune(bundle, stream=True).best.name == winner
    found = read_tuning(bundle)
    assert (found.engine, found.step) == ("onnxruntime", step)

    def made(**options: Any) -> tuple[str, bool]:
        session = rnn_edge.StreamSession(bundle, **options)._require_open().session(1, 1)
        return session.path.name, session.native.get_session_options().enable_cpu_mem_arena

    assert made() == ("step.onnx" if step else "stream.onnx", arena)
    assert made(step=True, options=()) == ("step.onnx", False)
    # Another chunk than that of the step graph has no such choice.
    names = [each.name for each in rnn_edge.tune(bundle, stream=True, chunk=4).candidates]
    assert names == ["onnxruntime", "onnxruntime, arena", "onnxruntime, pattern"]


def test_options_of_whole_sequences_are_not_those_of_a_stream(gru: Bundle) -> None:
    write_tuning(gru, Tuning(options=("arena",)))
    session = rnn_edge.StreamSession(gru)._require_open().session(1, 1)
    assert not session.native.get_session_options().enable_cpu_mem_arena


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = nn.LSTM(3, 4, batch_first=True)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            y: Tensor = pad_packed_sequence(self.core(packed)[0], batch_first=True)[0]
            return y

    bundle = rnn_edge.export(
        Net(),
        (torch.randn(2, 6, 3), torch.tensor([6, 3])),
        tmp_path_factory.mktemp("ragged") / "ragged",
        axes=[("batch", "sequence", None), ("batch",)],
    )
    assert bundle.graph().ragged
    return bundle


def test_what_was_found_holds_for_this_bundle_and_machine(
    gru: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tuning(gru, Tuning(threads=2))
    write_tuning(gru, Tuning(engine="onnxruntime"))
    assert read_tuning(gru) == Tuning(threads=2, engine="onnxruntime")
    with monkeypatch.context() as patch:
        patch.setattr("rnn_edge.runtime.tuning.describe_processor", lambda: "another")
        assert read_tuning(gru) == Tuning()
        write_tuning(gru, Tuning(threads=1))
    assert read_tuning(gru).threads == 2
    shutil.rmtree(gru.path)
    again = stream_bundles.write_recurrent(gru.path, "GRU", reset=False)
    assert read_tuning(again) == Tuning()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.LSTM, Bundle]:
    torch.manual_seed(0)
    layer = nn.LSTM(16, 96, batch_first=True).eval()
    axes = [("batch", "sequence", None)]
    folder = tmp_path_factory.mktemp("wide") / "wide"
    return layer, rnn_edge.export(layer, torch.randn(2, 5, 16), folder, axes=axes)


@pytest.fixture
def copied(wide: tuple[nn.LSTM, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """Of its own folder, without a compiler, quantised in no time."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(quantizing, "compare_speed", lambda *_: [])
    monkeypatch.setattr(
        quantizing,
        "compare_streams",
        lambda one, other: comparison.compare_streams(one, other, 10),
    )
    shutil.copytree(wide[1].path, tmp_path / "wide")
    return Bundle.load(tmp_path / "wide")


def wins(monkeypatch: pytest.MonkeyPatch, winner: str) -> None:
    def time_engines(engines, make_feed, **_: object) -> dict[str, np.ndarray]:
        for engine in engines:
            engine.call(engine.prepare(make_feed()))
        return {each.name: np.full(3, 1e3 * (1 + (each.name != winner))) for each in engines}

    monkeypatch.setattr(tuning, "time_engines", time_engines)


def test_int8_that_wins_stays_beside_and_is_used_until_it_changes(
    wide: tuple[nn.LSTM, Bundle], copied: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = copied.path.with_name("wide-int8")
    x = torch.randn(2, 9, 16)
    with torch.no_grad():
        expected = wide[0](x)[0].numpy()

    def errors(**options: Any) -> tuple[float, float]:
        stream = rnn_edge.StreamSession(copied, batch=2, **options)
        parts = [stream.push(x[:, n : n + 3].numpy())[0] for n in (0, 3, 6)]
        options.pop("engine", None)
        whole = rnn_edge.Session(copied, **options).run(x.numpy())[0]
        worst = (np.abs(found - expected).max() for found in (whole, np.concatenate(parts, 1)))
        return tuple(map(float, worst))  # type: ignore[return-value]

    wins(monkeypatch, "int8, 1 thread, arena")
    result = rnn_edge.tune(copied, batch=2, sequence=4, max_drop=0.1)
    assert 1e-4 < result.best.loss < 0.1
    assert {each.loss for each in result.candidates} == {0.0, result.best.loss}
    made = Bundle.load(place)
    assert read_tuning(copied).quantised == made.checksum
    session = rnn_edge.Session(copied)
    assert session.path == place / "model.onnx"
    assert session.native.get_session_options().enable_cpu_mem_arena
    of_whole, of_stream = errors()
    assert 1e-4 < of_whole < 0.1
    assert of_stream < 1e-5

    wins(monkeypatch, "onnxruntime-int8")
    again = rnn_edge.tune(copied, stream=True, batch=2, max_drop=0.1)
    assert again.best.loss == result.best.loss
    assert Bundle.load(place).checksum == made.checksum
    assert min(errors()) > 1e-4
    assert max(errors(quantised=False)) < 1e-5
    assert errors(engine="onnxruntime")[1] < 1e-5
    assert rnn_edge.verify(copied).worst_ratio <= 1

    # Damaged, then another, then gone: the float32 graphs, with none of what was found for it.
    (place / "README.md").write_text("changed")
    (place / "stream.onnx").write_bytes(b"changed")
    assert max(errors()) < 1e-5
    assert not rnn_edge.Session(copied).native.get_session_options().enable_cpu_mem_arena
    shutil.rmtree(place)
    shutil.copytree(copied.path, place)
    assert read_tuning(copied) == Tuning()
    wins(monkeypatch, "none")
    left_out = rnn_edge.tune(copied, max_drop=0.1).left_out["int8"]
    assert "it comes from another bundle" in left_out
    shutil.rmtree(place)
    assert max(errors()) < 1e-5


def test_int8_that_loses_or_breaks_the_budget_leaves_nothing_behind(
    copied: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    wins(monkeypatch, "1 thread")
    before = {path.name for path in copied.path.parent.iterdir()}
    assert rnn_edge.tune(copied, sequence=3, max_drop=0.1).best.name == "1 thread"
    strict = rnn_edge.tune(copied, sequence=3, max_drop=1e-6)
    assert "must be at most 1e-06, quantised it is" in strict.left_out["int8"]
    found = {path.name for path in copied.path.parent.iterdir()}
    assert found - before == {"wide.tuning.json"}
    assert rnn_edge.Session(copied).path == copied.path / "model.onnx"

    # What was there before stays, whether it wins or not.
    made = rnn_edge.quantize(copied, copied.path.with_name("wide-int8"), max_drop=0.1)
    asked = ["tune", str(copied.path), "--sequence", "3", "--max-drop"]
    shown = CliRunner().invoke(program, [*asked, "0.1"])
    assert shown.exit_code == 0, shown.output
    (row,) = [line for line in shown.stdout.splitlines() if line.startswith("int8, 1 thread\t")]
    assert f"{made.drop:.1g}" in row.split()
    assert made.bundle.path.is_dir()
    strict_again = CliRunner().invoke(program, [*asked, "1e-6"])
    assert "Left out int8: " in strict_again.stdout
    assert "must lose at most 1e-06, it loses" in strict_again.stdout
    assert Bundle.load(made.bundle.path).checksum == made.bundle.checksum


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format": "other"}', '{"format": 1, "machines": 2}']
)
def test_a_file_of_another_kind_counts_for_nothing(gru: Bundle, content: str) -> None:
    tuning_path(gru).write_text(content)
    assert read_tuning(gru) == Tuning()
    rnn_edge.StreamSession(gru)


def test_the_command_shows_what_it_tried(gru: Bundle, tmp_path: Path) -> None:
    call = CliRunner().invoke
    asked = ["tune", str(gru.path), "--stream", "--seconds", "0"]
    shown = call(program, asked)
    assert shown.exit_code == 0, shown.stderr
    assert "onnxruntime" in shown.stdout
    assert "Left out c-int8: no --max-drop was given" in shown.stdout
    found = json.loads(call(program, [*asked, "--json"]).stdout)
    assert found["best"] in [each["name"] for each in found["candidates"]]
    assert "Left out onnxruntime-int8: no --max-drop was given" in shown.stdout
    wrong = call(program, ["tune", str(gru.path), "--chunk", "2"])
    assert wrong.exit_code == 2
    (tmp_path / "lengths.txt").write_text("3\n0\n")
    wrong = call(program, ["tune", str(gru.path), "--lengths", str(tmp_path / "lengths.txt")])
    assert wrong.exit_code == 1
    assert "must be at least 1" in wrong.stderr


def test_lengths_need_an_input_that_takes_them(tmp_path: Path) -> None:
    bundle = tiny_bundles.write_series(tmp_path / "series", lengths=False)
    with pytest.raises(InputError, match="lengths must go to one input"):
        rnn_edge.tune(bundle, lengths=[1, 2])
    assert not tuning_path(bundle).exists()
