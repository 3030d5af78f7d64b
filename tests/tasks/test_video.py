"""The video task: its clips by what can be measured in them, its files, and that it learns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from rnn_edge.cli.main import program
from rnn_edge.contract import ClipFrontEnd
from rnn_edge.errors import InputError, RnnEdgeError
from rnn_edge.runtime.clips import decode_clip, read_frames
from rnn_edge.tasks import video
from rnn_edge.tasks.video import MOTIONS, Video, moving


def measured(clip: np.ndarray) -> str:
    """The motion that centres and areas of a clip without noise show."""
    weights = clip / clip.max()
    areas = weights.sum(axis=(1, 2))
    if areas.min() < 0.05 * areas.max():
        return "blinking"
    if areas.max() > 2 * areas.min():
        return "growing" if areas[-1] > areas[0] else "shrinking"
    places = np.arange(clip.shape[1])
    x = (weights.sum(axis=1) @ places) / areas
    y = (weights.sum(axis=2) @ places) / areas
    if np.ptp(x) > 3 and np.ptp(y) > 3:
        # Twice the area that the centre goes round; y points down, so that clockwise is positive.
        turned = np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])
        turned += x[-1] * y[0] - x[0] * y[-1]
        return "clockwise" if turned > 0 else "anticlockwise"
    if np.ptp(y) > np.ptp(x):
        return "down" if y[-1] > y[0] else "up"
    if np.any(np.diff(x) > 0.2) and np.any(np.diff(x) < -0.2):
        return "shaking"
    return "right" if x[-1] > x[0] else "left"


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_clip_moves_as_it_is_named(motion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "NOISE", 0.0)
    chance = np.random.default_rng(0)
    for _ in range(20):
        assert measured(moving(motion, 24, chance)) == motion


def write_gif(path: Path, clip: np.ndarray) -> Path:
    frames = [Image.fromarray(frame.astype(np.uint8)) for frame in clip]
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


def write_folder(path: Path, clip: np.ndarray) -> Path:
    path.mkdir(parents=True)
    for number, frame in enumerate(clip):
        Image.fromarray(frame.astype(np.uint8)).save(path / f"{number:03}.png")
    return path


def steps_of(levels: list[int], size: int = 6) -> np.ndarray:
    return np.array(levels, np.float32)[:, None, None] * np.ones((1, size, size), np.float32)


def test_gifs_and_folders_give_their_frames_scaled_in_order(tmp_path: Path) -> None:
    clip = steps_of([0, 100, 30, 255], size=8)
    front_end = ClipFrontEnd(4, 6, maximum=1.0)
    for found in (
        decode_clip(front_end, write_gif(tmp_path / "a.gif", clip).read_bytes(), "a.gif"),
        read_frames(front_end, write_folder(tmp_path / "frames", clip)),
    ):
        assert found.shape == (4, 4, 6)
        np.testing.assert_allclose(found[:, 2, 2], [0, 100 / 255, 30 / 255, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"I am a text", "x.gif must be a picture that can be read"),
        (b"", "x.gif must be a picture that can be read"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_clip(ClipFrontEnd(4, 4), content, "x.gif")


def test_a_clip_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (5, 20, 20)).astype(np.float32)
    content = write_gif(tmp_path / "a.gif", noise).read_bytes()
    with pytest.raises(InputError, match=r"a.gif must be whole, frame \d cannot be read"):
        decode_clip(ClipFrontEnd(4, 4), content[: len(content) // 2], "a.gif")


def test_folders_without_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RnnEdgeError, match="for each of two labels or more, it has 0"):
        Video().load(str(tmp_path), seed=0)
    write_gif(tmp_path / "one" / "a.gif", steps_of([0, 9]))
    (tmp_path / "two").mkdir()
    with pytest.raises(RnnEdgeError, match="two must hold GIFs or folders of frames"):
        Video().load(str(tmp_path), seed=0)
    (tmp_path / "two" / "b").mkdir()
    with pytest.raises(RnnEdgeError, match=r"b must hold pictures \(.png"):
        Video().load(str(tmp_path), seed=0)
    write_folder(tmp_path / "two" / "c", steps_of([0, 9]))
    (tmp_path / "two" / "b").rmdir()
    with pytest.raises(RnnEdgeError, match=r"3 rows or more.* got 1 of 'one'"):
        Video().load(str(tmp_path), seed=0)


def test_clips_are_learnt_exported_verified_and_run(place: Path) -> None:
    """What gets brighter and what gets darker hold the same frames in another order."""
    chance = np.random.default_rng(0)
    for number in range(60):
        levels = np.sort(chance.integers(0, 256, chance.integers(3, 8))).tolist()
        for name, clip in (("brighter", levels), ("darker", levels[::-1])):
            write = write_gif if number % 2 else write_folder
            write(Path("clips") / name / f"{number}{'.gif' * (number % 2)}", steps_of(clip))

    def call(*arguments: str) -> str:
        result = CliRunner().invoke(program, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    options = ["--size", "6", "--hidden-size", "8", "--epochs", "8", "--lr", "0.02", "--plot"]
    options += ["--batch-size", "8", "--dropout", "0", "--json"]
    document = json.loads(call("train", "video", "--data", "clips", "-o", "run", *options))
    assert document["metrics"]["scores"]["model"]["accuracy"] > 0.95
    assert Path("run/confusion.png").is_file()
    call("export", "run", "-o", "bundle")
    call("verify", "bundle")
    write_gif(Path("up.gif"), steps_of([0, 60, 120, 180, 240]))
    write_folder(Path("down"), steps_of([250, 150, 50]))
    answers = json.loads(call("run", "bundle", "up.gif", "down", "--json"))["results"]
    assert [answer["label"] for answer in answers] == ["brighter", "darker"]
