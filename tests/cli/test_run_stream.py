"""`rnn-edge run --stream` in processes of its own, as a pipe sees it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stream_bundles
import torch
from click.testing import CliRunner, Result
from onnx import helper
from torch import nn

import rnn_edge
from rnn_edge.bundle import Bundle, write_bundle
from rnn_edge.cli.main import program
from rnn_edge.contract import (
    CharacterFrontEnd,
    Decoder,
    FrontEnd,
    GraphContract,
    LabelDecoder,
    NextCharacterDecoder,
    SeriesFrontEnd,
    StreamRule,
)

FRAMES = np.array([[1, 2], [0.5, -1], [3, 0], [-2, 1], [0.25, 0.5]], np.float32)
LINES = "".join(f"{a},{b}\n" for a, b in FRAMES.tolist())
TABLE = np.array([[0, 0, 1, 3], [9, 1, 2, 0], [9, 0, 5, 4], [9, 7, 0, 1]], np.float32)
VOCABULARY = ("?", "a", "b", "\n")


def command(bundle: Path, *options: object) -> list[str]:
    code = "from rnn_edge.cli.main import main; main()"
    return [sys.executable, "-c", code, "run", str(bundle), "--stream", *map(str, options)]


def run(bundle: Bundle, *options: object, stdin: str | bytes) -> subprocess.CompletedProcess:
    given = stdin.encode() if isinstance(stdin, str) else stdin
    return subprocess.run(
        command(bundle.path, *options), input=given, capture_output=True, check=False, timeout=60
    )


def invoke(bundle: Bundle, *options: object, stdin: str | bytes = "") -> Result:
    asked = ["run", str(bundle.path), "--stream", *map(str, options)]
    return CliRunner().invoke(program, asked, input=stdin)


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return stream_bundles.write_recurrent(tmp_path_factory.mktemp("pipes") / "lstm", "LSTM")


@pytest.fixture(scope="module")
def answer() -> np.ndarray:
    return stream_bundles.recurrent_answer("LSTM", FRAMES)


def with_ends(bundle: Bundle, folder: Path, front: FrontEnd | None, back: Decoder | None) -> Bundle:
    """The same graphs with a front end and a decoder."""

    def fill(place: Path) -> None:
        for graph in bundle.contract.graphs.values():
            (place / graph.file).write_bytes((bundle.path / graph.file).read_bytes())

    contract = replace(bundle.contract, front_end=front, decoder=back)
    return write_bundle(folder, contract, {"producer": "tests"}, fill)


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """logits of the next character = a row of TABLE for each character."""
    spec = stream_bundles.spec
    contract = GraphContract(
        "stream.onnx",
        (spec("tokens", "batch", "sequence", dtype="int64"),),
        (spec("logits", "batch", "sequence", 4),),
        stream=StreamRule("sequence"),
    )
    node = helper.make_node("Gather", ["TABLE", "tokens"], ["logits"])
    folder = tmp_path_factory.mktemp("pipes")
    plain = stream_bundles.write(folder / "plain", {"stream": (contract, [node])}, {"TABLE": TABLE})
    front = CharacterFrontEnd(VOCABULARY, unknown=0, padding=0)
    return with_ends(plain, folder / "text", front, NextCharacterDecoder((0,)))


def test_the_c_engine_gives_the_same_lines(
    lstm: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("needs a C compiler")
    monkeypatch.setenv("RNN_EDGE_CACHE", str(tmp_path))
    expected, found = (
        np.array([line.split(",") for line in done.stdout.splitlines()], np.float32)
        for done in (invoke(lstm, "--engine", name, stdin=LINES) for name in ("onnxruntime", "c"))
    )
    np.testing.assert_allclose(found, expected, atol=2e-6)
    refused = invoke(lstm, "--engine", "c", "--provider", "cuda", stdin=LINES)
    assert refused.exit_code == 1
    outside = CliRunner().invoke(program, ["run", str(lstm.path), "--engine", "c"])
    assert "--engine must be left out without --stream" in outside.stderr


@contextmanager
def running(bundle: Bundle, *options: object) -> Iterator[subprocess.Popen]:
    child = subprocess.Popen(
        command(bundle.path, *options),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # Tests that run in the background of a shell would hand on that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("options", [(), ("--chunk", 2), ("--chunk", 100)])
def test_lines_of_numbers_give_lines_of_numbers(
    lstm: Bundle, answer: np.ndarray, options: tuple[object, ...]
) -> None:
    done = run(lstm, *options, stdin=LINES)
    assert (done.returncode, done.stderr) == (0, b"")
    found = [[float(field) for field in line.split(",")] for line in done.stdout.decode().split()]
    np.testing.assert_allclose(found, answer, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_raw_frames_give_raw_frames(lstm: Bundle, answer: np.ndarray, size: int) -> None:
    given = FRAMES.astype("<f4").tobytes()
    done = run(lstm, "--frames", "f32le", "--chunk", size, stdin=given)
    assert done.returncode == 0
    found = np.frombuffer(done.stdout, "<f4").reshape(-1, 3)
    np.testing.assert_allclose(found, answer, rtol=0, atol=1e-6)


def test_an_answer_comes_before_the_next_line_is_sent(lstm: Bundle, answer: np.ndarray) -> None:
    with running(lstm) as child:
        for line, expected in zip(LINES.splitlines(), answer, strict=True):
            child.stdin.write(f"{line}\n".encode())
            child.stdin.flush()
            found = [float(field) for field in child.stdout.readline().split(b",")]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_ctrl_c_ends_with_130(lstm: Bundle) -> None:
    with running(lstm) as child:
        child.stdin.write(LINES.encode())
        child.stdin.flush()
        for _ in FRAMES:
            child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=20)
        assert (child.returncode, said.strip()) == (130, b"Interrupted.")


def test_a_reader_that_goes_away_ends_it_quietly(lstm: Bundle) -> None:
    with running(lstm) as child:
        child.stdout.close()
        try:
            for _ in range(20000):
                child.stdin.write(LINES.encode())
            child.stdin.close()
        except BrokenPipeError:
            pass
        assert child.wait(timeout=20) == 1
        assert child.stderr.read() == b""
        child.stdin, child.stdout = open(os.devnull, "wb"), open(os.devnull, "rb")  # noqa: SIM115, PTH123


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("1,2\n3,x\n", "field 2 of line 2 of standard input must be a number, got 'x'"),
        ("1,2\n3\n", "line 2 of standard input must hold 2 numbers, one frame, got 1"),
        ("1,2\n\n3,nan\n", "chunk 2 of standard input: x[0, 0, 1] must be finite, got nan"),
        ("1,2\n3,1000\n", "chunk 2 of standard input: x[0, 0, 1] must be at most 100"),
        (b"1,2\n\xff\xfe\n", "line 2 of standard input must be text, it is not UTF-8"),
    ],
)
def test_bad_input_ends_with_one_line_after_the_answers_so_far(
    lstm: Bundle, answer: np.ndarray, given: str | bytes, line: str
) -> None:
    done = run(lstm, stdin=given)
    assert done.returncode == 1
    assert [float(field) for field in done.stdout.split(b",")] == pytest.approx(answer[0], abs=1e-6)
    (said,) = done.stderr.decode().splitlines()
    assert said.startswith(f"Error: {line}")


def test_half_a_frame_is_an_error(lstm: Bundle) -> None:
    done = run(lstm, "--frames", "f32le", stdin=FRAMES.astype("<f4").tobytes()[:-3])
    assert done.returncode == 1
    assert len(done.stdout) == 4 * 12
    assert b"must end with a whole frame of 8 bytes, 5 are left over" in done.stderr


def test_header_line_says_the_order_of_columns(
    lstm: Bundle, answer: np.ndarray, tmp_path: Path
) -> None:
    front = SeriesFrontEnd(("load", "speed"), (0.0, 0.0), (1.0, 1.0))
    bundle = with_ends(lstm, tmp_path / "b", front, None)
    table = "speed;time;load\n" + "".join(f"{b};0;{a}\n" for a, b in FRAMES.tolist())
    found = [line.split(",") for line in invoke(bundle, stdin=table).stdout.split()]
    np.testing.assert_allclose(np.array(found, float), answer, rtol=0, atol=1e-6)
    wrong = invoke(bundle, stdin="speed,time\n1,2\n")
    assert "columns of standard input must include load, speed, got speed, time" in wrong.stderr


def test_labels_are_told_with_their_probability(
    lstm: Bundle, answer: np.ndarray, tmp_path: Path
) -> None:
    bundle = with_ends(lstm, tmp_path / "b", None, LabelDecoder(("one", "two", "three")))
    lines = invoke(bundle, stdin=LINES).stdout.splitlines()
    powers = np.exp(answer)
    best = powers.argmax(axis=1)
    assert [json.loads(line.split(",")[0]) for line in lines] == [
        ("one", "two", "three")[place] for place in best
    ]
    probabilities = [float(line.split(",")[1]) for line in lines]
    np.testing.assert_allclose(probabilities, powers.max(1) / powers.sum(1), rtol=1e-5)


@pytest.mark.parametrize("options", [(), ("--chunk", 1), ("--chunk", 3)])
def test_text_tells_the_likeliest_next_character(
    characters: Bundle, options: tuple[object, ...]
) -> None:
    lines = invoke(characters, *options, stdin="ab\r\naxé".encode()).stdout.splitlines()
    # Unknown characters read as "?", which itself never comes next.
    assert [json.loads(line.split(",")[0]) for line in lines] == ["b", "b", "a", "b", "\n", "\n"]


def test_text_that_is_not_utf8_is_an_error(characters: Bundle) -> None:
    done = invoke(characters, stdin=b"ab\n\xff\n")
    assert done.exit_code == 1
    assert "standard input must be UTF-8, got the byte 0xff" in done.stderr


def test_json_has_all_outputs_of_each_chunk(lstm: Bundle, answer: np.ndarray) -> None:
    lines = invoke(lstm, "--chunk", 3, "--json", stdin=LINES).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert [np.array(each["y"]).shape for each in found] == [(1, 3, 3), (1, 2, 3)]
    np.testing.assert_allclose(found[-1]["last"][0], answer[-1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--stream", "--text", "x"], 1, "--text must be left out with --stream"),
        (["--stream", "--seed", "0", "--last", "1"], 1, "--last, --seed must be left out"),
        (["--chunk", "2"], 1, "--chunk must be left out without --stream"),
        (["--stream", "--json", "--frames", "f32le"], 2, "two forms of output"),
    ],
)
def test_options_that_do_not_go_together(
    lstm: Bundle, options: list[str], code: int, message: str
) -> None:
    done = CliRunner().invoke(program, ["run", str(lstm.path), *options])
    assert done.exit_code == code
    assert message in done.stderr


def test_a_bundle_without_a_stream_graph_says_why(series_bundle: Bundle) -> None:
    done = invoke(series_bundle)
    assert done.exit_code == 1
    assert "must hold a graph 'stream' to be streamed, it holds model" in done.stderr


@pytest.mark.parametrize("chunk", [1, 2, 9])
def test_answers_that_lie_behind_come_when_they_are_ready(tmp_path: Path, chunk: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv1d(2, 3, 5, padding=2)
    axes = [("batch", None, "sequence")]
    bundle = rnn_edge.export(conv, torch.randn(2, 2, 9), tmp_path / "b", axes=axes, stream=True)
    lines = invoke(bundle, "--chunk", chunk, stdin=LINES).stdout.splitlines()
    with torch.no_grad():
        whole = conv.double()(torch.from_numpy(FRAMES.T).double())
    # Two frames of context ahead: the last two answers never come.
    found = np.array([line.split(",") for line in lines], float)
    np.testing.assert_allclose(found, whole.numpy().T[:-2], rtol=0, atol=1e-6)


def test_a_model_with_other_inputs_is_refused(tmp_path: Path) -> None:
    done = invoke(stream_bundles.write_convolution(tmp_path / "b"), stdin="1\n")
    assert done.exit_code == 1
    assert "must take one input to be fed from a pipe, it takes x, gain" in done.stderr
