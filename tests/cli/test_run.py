import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_bundles
from click.testing import CliRunner, Result
from PIL import Image

from rnn_edge import extras
from rnn_edge.bundle import Bundle
from rnn_edge.cli.main import program


def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(program, ["run", *map(str, arguments)], input=stdin)


def results(*arguments: object, stdin: str | bytes | None = None) -> list[dict]:
    done = run(*arguments, "--json", stdin=stdin)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)["results"]


def refusal(*arguments: object, stdin: str | bytes | None = None, code: int = 1) -> str:
    """What a refused call says; it must be one line, and nothing on standard output."""
    done = run(*arguments, stdin=stdin)
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def save_png(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def rows_of(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


TABLE = np.array([[1, 2], [3, 4], [0.5, -1]], np.float32)


@pytest.fixture
def table(place: Path) -> Path:
    path = place / "table.csv"
    path.write_text("time,load,speed\na,2,1\nb,4,3\nc,-1,0.5\n", encoding="utf-8")
    return path


def test_a_csv_gives_the_model_s_value(series_bundle, table):
    ((heading,), (value,)) = rows_of(run(series_bundle.path, table).stdout)
    assert heading == "heat"
    assert float(value) == pytest.approx(float(tiny_bundles.series_answer(TABLE)[0]), rel=1e-5)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfspeed,load\n1,2\n3,4\n0.5,-1\n",
        b"speed,load\r\n1,2\r\n3,4\r\n0.5,-1\r\n",
        b"1,2\n3,4\n0.5,-1",
    ],
)
def test_byte_order_mark_crlf_and_no_header_are_fine(series_bundle, place, content):
    (place / "t.csv").write_bytes(content)
    (found,) = results(series_bundle.path, "t.csv")
    assert found["values"]["heat"] == pytest.approx(
        float(tiny_bundles.series_answer(TABLE)[0]), abs=1e-6
    )


@pytest.mark.parametrize("name", [["-"], []])
def test_standard_input_is_an_input(series_bundle, name):
    (found,) = results(series_bundle.path, *name, stdin="1,2\n3,4\n0.5,-1\n")
    assert found["input"] == "standard input"
    assert found["values"]["heat"] == pytest.approx(
        float(tiny_bundles.series_answer(TABLE)[0]), abs=1e-6
    )


def test_files_of_different_lengths_keep_their_order(series_bundle, place):
    (place / "a.csv").write_text("1,2\n3,4\n", encoding="utf-8")
    (place / "b.csv").write_text("1,2\n3,4\n0.5,-1\n", encoding="utf-8")
    heading, *rows = rows_of(run(series_bundle.path, "a.csv", "b.csv").stdout)
    assert heading == ["input", "heat"]
    assert [row[0] for row in rows] == ["a.csv", "b.csv"]
    for (_, value), end in zip(rows, (2, 3), strict=True):
        expected = tiny_bundles.series_answer(TABLE[:end])[0]
        assert float(value) == pytest.approx(float(expected), rel=1e-5)


def test_one_text_shows_every_label_the_likeliest_first(text_bundle):
    heading, *rows = rows_of(run(text_bundle.path, "--text", "ab").stdout)
    expected = dict(zip(tiny_bundles.LABELS, tiny_bundles.text_answer([2, 3]), strict=True))
    assert heading == ["label", "probability"]
    assert [row[0] for row in rows] == sorted(expected, key=expected.get, reverse=True)
    for label, probability in rows:
        assert float(probability) == pytest.approx(float(expected[label]), abs=1e-5)


def test_several_texts_show_the_likeliest_label_of_each(text_bundle):
    heading, *rows = rows_of(run(text_bundle.path, "--text", "ab", "--text", "好\tb").stdout)
    assert heading == ["input", "label", "probability"]
    assert [row[0] for row in rows] == ["ab", "好 b"]
    for row, ids in zip(rows, ([2, 3], [4, 1, 3]), strict=True):
        expected = tiny_bundles.text_answer(ids)
        assert row[1] == tiny_bundles.LABELS[int(expected.argmax())]
        assert float(row[2]) == pytest.approx(float(expected.max()), abs=1e-5)


def test_files_come_before_texts_and_lines_are_inputs(text_bundle, place):
    (place / "f.txt").write_text("ab\n\n好\n", encoding="utf-8")
    found = results(text_bundle.path, "f.txt", "--lines", "--text", "b")
    assert [entry["input"] for entry in found] == ["ab", "好", "b"]
    for entry, ids in zip(found, ([2, 3], [4], [3]), strict=True):
        expected = dict(zip(tiny_bundles.LABELS, tiny_bundles.text_answer(ids), strict=True))
        assert entry["probabilities"] == pytest.approx(expected, abs=1e-6)


def test_an_unseen_character_runs_as_unknown(text_bundle):
    (found,) = results(text_bundle.path, "--text", "aZ")
    expected = dict(zip(tiny_bundles.LABELS, tiny_bundles.text_answer([2, 1]), strict=True))
    assert found["probabilities"] == pytest.approx(expected, abs=1e-6)


def test_longer_than_trained_on_runs_with_one_warning_line(text_bundle):
    # More lines than fit one batch, so that two batches are too long.
    lines = ["a" * 21] * 70 + ["b" * 30]
    done = run(text_bundle.path, "--lines", "--json", stdin="\n".join(lines))
    assert done.exit_code == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("Warning: axis 'sequence' of tokens has size 30, the model was trained")
    assert len(json.loads(done.stdout)["results"]) == 71


def test_an_image_is_read(image_bundle, place):
    pixels = np.random.default_rng(1).integers(0, 256, (4, 3), np.uint8)
    (found,) = results(image_bundle.path, save_png(place / "i.png", pixels))
    expected = dict(zip(tiny_bundles.LABELS, tiny_bundles.image_answer(pixels), strict=True))
    assert found["probabilities"] == pytest.approx(expected, abs=1e-6)


def test_dark_on_light_is_inverted_only_on_request(image_bundle, place):
    pixels = np.full((4, 3), 255, np.uint8)
    pixels[1:3, 1] = 0
    path = save_png(place / "i.png", pixels)
    for options, seen in (([], pixels), (["--invert"], 255 - pixels)):
        (found,) = results(image_bundle.path, path, *options)
        expected = dict(zip(tiny_bundles.LABELS, tiny_bundles.image_answer(seen), strict=True))
        assert found["probabilities"] == pytest.approx(expected, abs=1e-6)


def test_answers_of_every_step_are_numbered(place):
    bundle = tiny_bundles.write_doubling(place / "d")
    assert rows_of(run(bundle.path, "--text", "1 2.5").stdout) == [
        ["step", "double"],
        ["1", "2"],
        ["2", "5"],
    ]


def test_last_leaves_the_end_of_a_series_and_of_a_text(series_bundle, text_bundle, table):
    (found,) = results(series_bundle.path, table, "--last", 2)
    expected = float(tiny_bundles.series_answer(TABLE[1:])[0])
    assert found["values"]["heat"] == pytest.approx(expected, abs=1e-6)
    (found,) = results(text_bundle.path, "--text", "好ab", "--last", 2)
    probability = float(tiny_bundles.text_answer([2, 3])[0])
    assert found["probabilities"]["negative"] == pytest.approx(probability, abs=1e-6)


@pytest.mark.parametrize("kind", ["series", "text", "image", "language"])
def test_a_lone_file_of_ours_runs_as_its_bundle_does(kind, place, request):
    bundle = request.getfixturevalue(f"{kind}_bundle")
    (place / "lone.onnx").write_bytes(bundle.graph_path().read_bytes())
    (place / "rows.csv").write_text("1,2\n3,4\n")
    save_png(place / "image.png", np.arange(12, dtype=np.uint8).reshape(4, 3))
    arguments = {
        "series": ["rows.csv"],
        "text": ["--text", "ab"],
        "image": ["image.png"],
        "language": ["--prompt", "a", "--length", 5, "--seed", 1],
    }[kind]
    found = run("lone.onnx", *arguments)
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout == run(bundle.path, *arguments).stdout != ""


def test_a_prompt_is_continued(language_bundle):
    done = run(language_bundle.path, "--prompt", "ab", "--length", 5, "--temperature", 0)
    ids = [2, 3]
    for _ in range(5):
        logits = tiny_bundles.language_logits(ids)[-1]
        logits[[0, 1]] = -np.inf
        ids.append(int(logits.argmax()))
    assert done.stdout == "".join(tiny_bundles.VOCABULARY[place] for place in ids) + "\n"


@pytest.mark.parametrize("how", ["file", "text", "pipe"])
def test_a_prompt_may_come_as_any_input(language_bundle, place, how):
    (place / "p.txt").write_text("ab\n", encoding="utf-8")
    inputs = {"file": ["p.txt"], "text": ["--text", "ab"], "pipe": []}[how]
    stdin = "ab\n" if how == "pipe" else None
    options = ["--length", 9, "--seed", 5, "--top-k", 3]
    done = run(language_bundle.path, *inputs, *options, stdin=stdin)
    assert done.stdout == run(language_bundle.path, "--prompt", "ab", *options).stdout


def test_generated_json_names_the_seed_that_gives_the_text_again(language_bundle):
    first = json.loads(run(language_bundle.path, "--json", "--length", 40).stdout)
    options = ["--length", 40, "--seed", first["seed"], "--json"]
    again = json.loads(run(language_bundle.path, *options).stdout)
    assert first["prompt"] is None
    assert len(first["text"]) == 40
    assert again["text"] == first["text"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.csv must hold an input, it is empty"),
        (b"\n\r\n", "t.csv must hold numbers, it is blank"),
        (b"1,2\n3\n", "got 1 in line 2"),
        (b"speed,load\n1,\xe9\n", "t.csv must be UTF-8, got byte 0xe9 in line 2"),
        (b"1,2\nnan,4\n", "t.csv, line 2, field 1, must be a finite number"),
        (b"1,2\n3,inf\n", "t.csv, line 2, field 2, must be a finite number"),
        (b"speed,load\n", "t.csv must hold rows under its header"),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused(series_bundle, place, content, message):
    (place / "t.csv").write_bytes(content)
    assert message in refusal(series_bundle.path, "t.csv")


def test_a_sequence_longer_than_the_contract_allows_is_refused(series_bundle):
    line = refusal(series_bundle.path, stdin="1,2\n" * 201)
    assert "axis 'sequence' of x must be at most 200, got 201" in line


def test_an_image_of_the_wrong_size_is_refused(image_bundle, place):
    path = save_png(place / "i.png", np.zeros((8, 8), np.uint8))
    assert "must be 3 x 4 pixels, got 8 x 8" in refusal(image_bundle.path, path)


def test_a_truncated_image_is_refused(image_bundle, place):
    path = save_png(place / "i.png", np.zeros((4, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-15])
    assert "must be a whole PNG image" in refusal(image_bundle.path, path)


def test_a_picture_of_another_kind_is_refused(image_bundle, place):
    stream = io.BytesIO()
    Image.new("L", (3, 4)).save(stream, "BMP")
    (place / "i.bmp").write_bytes(stream.getvalue())
    assert "must be a PNG image" in refusal(image_bundle.path, "i.bmp")


@pytest.mark.parametrize("arguments", [["--text", ""], ["--text", "ab", "--text", ""]])
def test_a_text_without_characters_is_refused(text_bundle, arguments):
    assert "must hold at least one character" in refusal(text_bundle.path, *arguments)


def test_an_empty_pipe_is_refused(text_bundle):
    assert "standard input must hold text, it is empty" in refusal(text_bundle.path, stdin="")


@pytest.mark.parametrize(
    ("name", "message"), [("no.csv", "it is not there"), (".", "it is a folder")]
)
def test_a_missing_file_and_a_folder_are_refused(series_bundle, place, name, message):
    assert message in refusal(series_bundle.path, name)


def test_a_text_for_a_model_of_images_is_refused(image_bundle):
    assert "must be a PNG image, got a text" in refusal(image_bundle.path, "--text", "a")


def test_a_truncated_onnx_is_refused(series_bundle, place):
    content = series_bundle.graph_path().read_bytes()
    (place / "cut.onnx").write_bytes(content[: len(content) // 2])
    assert "must be an ONNX file that ONNX Runtime loads" in refusal("cut.onnx", stdin="1,2\n")


def test_a_file_that_is_not_onnx_is_refused(table):
    assert "must be an ONNX file that ONNX Runtime loads" in refusal(table, stdin="1,2\n")


def test_a_bundle_with_a_changed_byte_is_refused(place):
    bundle = tiny_bundles.write_series(place / "s")
    content = bytearray(bundle.graph_path().read_bytes())
    content[-5] ^= 1
    bundle.graph_path().write_bytes(content)
    assert "SHA-256 differs" in refusal(bundle.path, stdin="1,2\n")


def test_a_missing_bundle_and_a_folder_that_is_none_are_refused(place):
    assert "must be a bundle folder or an .onnx file" in refusal("nowhere", stdin="1,2\n")
    assert "must be a folder with a bundle.json" in refusal(place, stdin="1,2\n")


def test_cuda_that_is_not_there_is_an_error(series_bundle, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    line = refusal(series_bundle.path, "--provider", "cuda", stdin="1,2\n")
    assert "provider 'cuda' must be available" in line
    assert "rnn-edge[gpu]" in line


def test_options_of_language_models_are_refused_elsewhere(text_bundle):
    line = refusal(text_bundle.path, "--prompt", "a", "--top-k", 3)
    assert "--top-k, --prompt must be left out" in line


def test_options_of_images_and_of_sequences_are_refused_where_they_mean_nothing(
    text_bundle, image_bundle, place
):
    path = save_png(place / "i.png", np.zeros((4, 3), np.uint8))
    line = refusal(image_bundle.path, path, "--lines", "--last", 2)
    assert "--lines, --last must be left out for images" in line
    assert "--invert must be left out" in refusal(text_bundle.path, "--text", "a", "--invert")


def test_options_of_other_models_are_refused_for_language_models(language_bundle):
    assert "--lines must be left out" in refusal(language_bundle.path, "--lines", stdin="a")


def test_an_empty_prompt_starts_a_line(language_bundle):
    how = ("--temperature", 0, "--length", 9)
    begun = run(language_bundle.path, "--prompt", "", *how)
    assert (begun.exit_code, begun.stdout) == (0, run(language_bundle.path, *how, stdin="").stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", "a", "--seed", "9223372036854775808"], "seed must be 0 or more, below"),
        (["--prompt", "a", "--temperature", "1e39"], "temperature must be 0 or more, below"),
        (["--prompt", "a", "--length", "0"], "length must be at least 1, got 0"),
        (["--prompt", "a", "--temperature", "-1"], "temperature must be 0 or more"),
        (["--prompt", "a", "--text", "b"], "must get one prompt, got 2"),
    ],
)
def test_generation_that_makes_no_sense_is_refused(language_bundle, arguments, message):
    assert message in refusal(language_bundle.path, *arguments)


def test_nothing_to_read_at_a_terminal_is_wrong_usage(text_bundle):
    at_a_terminal = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"
    program_itself = "from rnn_edge.cli.main import main; main()"
    done = subprocess.run(
        [
            *(sys.executable, "-c", at_a_terminal),
            *(sys.executable, "-c", program_itself, "run", str(text_bundle.path)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 2
    assert "Give an INPUT file, --text, or pipe something in." in done.stdout


def draw(bundle: Bundle, *arguments: object) -> np.ndarray:
    done = run(bundle.path, *arguments, "--plot", "p.png")
    assert done.exit_code == 0, done.output
    return np.asarray(Image.open("p.png").convert("RGB"))


def test_plot_draws_probability_bars_as_long_as_the_probabilities(text_bundle, place):
    picture = draw(text_bundle, "--text", "ab").astype(int)
    blue = (abs(picture - (31, 119, 180)).sum(axis=2) < 30).sum(axis=1)
    lengths = sorted({int(count) for count in blue if count > 20})
    high, low = sorted(tiny_bundles.text_answer([2, 3]), reverse=True)
    assert lengths[0] / lengths[-1] == pytest.approx(float(low / high), abs=0.02)


def test_plot_draws_one_panel_a_series(series_bundle, table):
    one = draw(series_bundle, table)
    two = draw(series_bundle, table, table)
    assert two.shape[0] == 2 * one.shape[0]


def test_plot_draws_values_of_every_step(place):
    bundle = tiny_bundles.write_doubling(place / "d")
    assert draw(bundle, "--text", "1 2 3").std() > 0


def test_a_plot_that_cannot_be_written_is_refused(text_bundle, place):
    line = refusal(text_bundle.path, "--text", "a", "--plot", "nowhere/p.png")
    assert "nowhere/p.png must be a place to write a file" in line
    assert "must name a .png file" in refusal(text_bundle.path, "--text", "a", "--plot", "p.txt")


def test_a_plot_without_matplotlib_names_the_extra(text_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    line = refusal(text_bundle.path, "--text", "a", "--plot", "p.png")
    assert f"rnn-edge[{extras.EXTRA_OF['matplotlib']}]" in line


def loaded_by(*arguments: str) -> set[str]:
    """The heavy modules that a call of the program has loaded."""
    code = (
        "import sys\nfrom rnn_edge.cli.main import program\n"
        "program(sys.argv[1:], standalone_mode=False)\n"
        "heavy = {'numpy', 'onnxruntime', 'torch', 'onnx', 'matplotlib', 'pandas', 'rich'}\n"
        "print('loaded', *sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_help_loads_nothing_heavy():
    assert loaded_by("run", "--help") == set()


def test_a_run_loads_numpy_and_onnxruntime_alone(text_bundle):
    assert loaded_by("run", str(text_bundle.path), "--text", "a") == {"numpy", "onnxruntime"}
