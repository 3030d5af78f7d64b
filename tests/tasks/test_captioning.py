"""The captioning task: its pictures by what is measured in them, its files, and that it learns."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from scipy import ndimage

from rnn_edge.checkpoint import load_checkpoint
from rnn_edge.cli.main import program
from rnn_edge.contract import PictureFrontEnd
from rnn_edge.errors import RnnEdgeError
from rnn_edge.runtime.pictures import decode_picture
from rnn_edge.tasks import captioning
from rnn_edge.tasks.captioning import COLOURS, Captioning, Shape, caption, drawn, scene

SIZE = 120


def measured(picture: np.ndarray) -> list[tuple[str, str, float, float]]:
    """Kind, colour and middle of each shape of a picture without noise, by areas and extents."""
    ground = picture[:, 0, 0].reshape(3, 1, 1)
    labels, count = ndimage.label(np.abs(picture - ground).max(axis=0) > 60)
    found = []
    for place, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        inside = labels == place
        height, width = rows.stop - rows.start, columns.stop - columns.start
        share = inside.sum() / (height * width)
        upper = inside[rows.start : rows.start + height // 2].sum() / inside.sum()
        kind = "square" if share > 0.95 else "circle" if share > 0.7 else "cross"
        if share < 0.7 and upper < 0.4:
            kind = "triangle"
        core = ndimage.binary_erosion(inside, iterations=3)
        seen = np.median(picture[:, core], axis=1)
        colour = min(COLOURS, key=lambda name: np.abs(seen - COLOURS[name][0]).sum())
        y, x = ndimage.center_of_mass(inside)
        found.append((kind, colour, x, y))
    assert count == len(found)
    return found


def test_a_caption_is_true_of_its_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captioning, "NOISE", 0.0)
    chance = np.random.default_rng(1)
    counts = {1: 0, 2: 0, 3: 0}
    for _ in range(150):
        shapes = scene(chance)
        seen = measured(drawn(shapes, SIZE, chance))
        text = caption(shapes, "english")
        named = re.findall(r"a (\w+) (\w+)", text)
        counts[len(named)] += 1
        below = " above " in text
        seen.sort(key=lambda shape: shape[3 if below else 2])
        assert [(colour, kind) for kind, colour, _, _ in seen] == named
        if len(named) == 2:
            (_, _, x, y), (_, _, other_x, other_y) = seen
            assert (abs(other_y - y) > abs(other_x - x)) == below
    assert min(counts.values()) > 20


def test_captions_in_chinese_say_the_same() -> None:
    red, blue = Shape("circle", "red", 0.2, 0.5), Shape("square", "blue", 0.7, 0.6)
    green = Shape("triangle", "green", 0.9, 0.5)
    below = Shape("cross", "white", 0.25, 0.9)
    assert caption([red], "chinese") == "红色的圆形"
    assert caption([red, blue], "chinese") == "红色的圆形在蓝色的正方形左边"
    assert caption([red, below], "chinese") == "红色的圆形在白色的十字形上边"
    assert caption([red, blue, green], "chinese") == "红色的圆形、蓝色的正方形和绿色的三角形"
    assert caption([red, blue, green], "english") == (
        "a red circle, a blue square and a green triangle"
    )


def test_pictures_are_scaled_and_show_white_through(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    front_end = PictureFrontEnd(4, 4, maximum=1.0)
    found = decode_picture(front_end, (tmp_path / "a.png").read_bytes(), "a.png")
    assert found.shape == (3, 4, 4)
    np.testing.assert_allclose(found[:, 1, 0], [1, 0, 0])
    np.testing.assert_allclose(found[:, 1, 3], [1, 1, 1])


def picture(path: Path, colour: tuple[int, int, int]) -> None:
    Image.new("RGB", (8, 8), colour).save(path)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (None, r"captions.tsv must be a file that can be read"),
        ("a.png\tred\nb.png\tblue\n", r"must name files that are there, .*b.png of line 2 is not"),
        ("a.png red\n", r"a file, a tab and a text in every line, got 'a.png red' in line 1"),
        ("text.png\tred\n", r"text.png must be a picture that can be read, it is none"),
        ("empty.png\tred\n", r"empty.png must be a picture that can be read, it is none"),
        ("cut.png\tred\n", r"cut.png must be whole, it cannot be read"),
        ("a.png\t" + "r" * 201 + "\n", r"\(a.png\) must have 200 characters or fewer, got 201"),
        ("a.png\tred\na.png\tred\n", "must hold 3 pictures or more, got 2"),
    ],
)
def test_bad_data_is_refused_by_name(tmp_path: Path, listed: str | None, message: str) -> None:
    picture(tmp_path / "a.png", (255, 0, 0))
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("I am a text")
    (tmp_path / "empty.png").touch()
    if listed is not None:
        (tmp_path / "captions.tsv").write_text(listed)
    with pytest.raises(RnnEdgeError, match=message) as caught:
        Captioning().load(str(tmp_path), seed=0)
    assert "\n" not in str(caught.value)


def test_colours_are_told_exported_verified_and_run(place: Path) -> None:
    """Which of three colours fills the picture: the exact answer is known, in any language."""
    words = {"red": 0, "绿": 1, "blue!": 2}
    Path("data").mkdir()
    chance, lines = np.random.default_rng(0), []
    for number in range(240):
        word = list(words)[number % 3]
        colour = chance.integers(0, 100, 3)
        colour[words[word]] = chance.integers(160, 256)
        picture(Path("data") / f"{number}.png", (int(colour[0]), int(colour[1]), int(colour[2])))
        lines.append(f"{number}.png\t{word}")
    Path("data/captions.tsv").write_text("\n".join(lines))

    def call(*arguments: str) -> str:
        result = CliRunner().invoke(program, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    options = ["--size", "8", "--hidden-size", "16", "--embedding-size", "8", "--epochs", "10"]
    options += ["--lr", "0.02", "--batch-size", "8", "--plot", "--json"]
    document = json.loads(call("train", "captioning", "--data", "data", "-o", "run", *options))
    scores = document["metrics"]["scores"]
    assert scores["model"]["texts right"] > 0.95
    assert scores["model, beam 4"]["texts right"] > 0.95
    assert Path("run/captions.png").is_file()
    told = call("export", "run", "-o", "bundle").splitlines()
    assert any(line.startswith("No stream.onnx: an input must have a dynamic") for line in told)
    call("verify", "bundle")
    asked = ["data/0.png", "data/1.png", "data/2.png", "--json", "--plot", "answers.png"]
    answers = json.loads(call("run", "bundle", *asked))["results"]
    assert [answer["text"] for answer in answers] == list(words)
    pictures = [
        decode_picture(PictureFrontEnd(8, 8), Path(name).read_bytes(), name) for name in asked[:3]
    ]
    with torch.no_grad():
        _, chances = load_checkpoint("run").module(torch.from_numpy(np.stack(pictures)))
    # Behind the end they are 0.
    expected = chances.double().sum(1).numpy()
    np.testing.assert_allclose(
        [answer["log_probability"] for answer in answers], expected, atol=2e-5
    )
    session = onnxruntime.InferenceSession("bundle/pipeline.onnx")
    written, chance = session.run(None, {"picture": np.stack(pictures[:1])})
    assert (written.tolist(), chance) == (["red"], pytest.approx(expected[:1], abs=2e-5))
    assert Path("answers.png").is_file()
    call("profile", "bundle")
