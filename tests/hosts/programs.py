"""What every host program must get right, whatever its language: cases and their right answers."""

from __future__ import annotations

import hashlib
import json
import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toolchain import call

from rnn_edge.bundle import MANIFEST, Bundle
from rnn_edge.runtime.generation import Sampling
from rnn_edge.runtime.pipeline import Pipeline

TEXT = "Nice, 好吃 but slow"
COMMON = {
    "forecast": "x\n0.5\n-0.25\n0.125\n2\n",
    "sentiment": TEXT,
    "tagger": "1,2,3,4\n0,-1,0.5,2\n",
}


def write_input(bundle: Bundle, folder: Path) -> tuple[Path, Path]:
    """A file as Python's front end reads it, and the same as the host program does."""
    if bundle.name == "images":
        return write_image(bundle, folder)
    path = folder / ("input.txt" if bundle.name == "sentiment" else "input.csv")
    path.write_text(COMMON[bundle.name], encoding="utf-8")
    return path, path


def write_image(bundle: Bundle, folder: Path) -> tuple[Path, Path]:
    from PIL import Image

    front_end: Any = bundle.contract.front_end
    shape = (front_end.height, front_end.width)
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for name in ("input.png", "input.pgm"):
        Image.fromarray(pixels).save(folder / name)
    return folder / "input.png", folder / "input.pgm"


def write_raw(bundle: Bundle, folder: Path) -> tuple[Path, Path]:
    """A file as Python reads it, and the same as a host program does: a text, sound or pictures."""
    from PIL import Image

    random = np.random.default_rng(2)
    front_end: Any = bundle.contract.front_end
    if front_end.kind in ("characters", "bytes"):
        (folder / "raw.txt").write_text(TEXT + " \U0001f600 e\u0301", encoding="utf-8")
        return folder / "raw.txt", folder / "raw.txt"
    if front_end.kind == "audio":
        with wave.open(str(folder / "raw.wav"), "wb") as file:
            file.setparams((2, 2, front_end.rate, 0, "NONE", ""))
            file.writeframes(random.integers(-9000, 9000, 2 * 3000).astype("<i2").tobytes())
        return folder / "raw.wav", folder / "raw.wav"
    colour = front_end.kind == "picture"
    shape = (front_end.height, front_end.width, *((3,) if colour else ()))
    frames = random.integers(0, 256, (1 if colour else 5, *shape)).astype(np.uint8)
    theirs = folder / ("raw.ppm" if colour else "raw.pgm")
    with theirs.open("wb") as file:
        for frame in frames:
            Image.fromarray(frame).save(file, "PPM")
    if colour:
        Image.fromarray(frames[0]).save(folder / "raw.png")
        return folder / "raw.png", theirs
    ours = folder / "frames"
    ours.mkdir()
    for place, frame in enumerate(frames):
        Image.fromarray(frame).save(ours / f"{place}.png")
    return ours, theirs


def other_forms(path: Path) -> list[Path]:
    """The same sound as ``path``, or picture with other blanks in its head, beside it."""
    if path.suffix == ".wav":
        import soundfile

        samples, rate = soundfile.read(path)
        forms = (("PCM_U8", "WAV"), ("PCM_24", "WAVEX"), ("PCM_32", "WAV"), ("FLOAT", "WAVEX"))
        found = [path.with_name(f"{form}.wav") for form, _ in (*forms, ("DOUBLE", ""))]
        for other, (form, container) in zip(found, (*forms, ("DOUBLE", "WAV")), strict=True):
            soundfile.write(other, samples, rate, subtype=form, format=container)
        return found
    if path.suffix not in (".pgm", ".ppm"):
        return []
    magic, size, rest = path.read_bytes().split(b"\n", 2)
    other = path.with_stem("other")
    other.write_bytes(magic + b"# 1 2\n#\n " + size.replace(b" ", b"\t#\r\n\n ") + b"\n" + rest)
    return [other]


def check_raw(output: str, bundle: Bundle, ours: Path) -> None:
    """``output``, a line of JSON, is what `rnn-edge run` says of the file ``ours``."""
    told = json.loads(output)
    answer: Any = python_answer(bundle, ours)
    if "label" in told:
        assert told["label"] == answer.rows()[0][0]
        np.testing.assert_allclose(told["probabilities"], answer.probabilities, atol=2e-5)
    elif "tags" in told:
        assert tuple(told["tags"]) == answer.labels
    else:
        assert told.get("text", told.get("written")) == answer.text
        (chance,) = answer.log_probabilities
        assert told["log_probability"] == pytest.approx(chance, rel=2e-5, abs=2e-4)


def check_texts(run: Callable[..., Any], bundle: Bundle, folder: Path) -> None:
    """``run(file)``, or with ``fails=True``: texts that people have, and what is none."""
    path = folder / "given.txt"
    for text in (
        b"\xef\xbb\xbfone\r\ntwo\rthree \n\n",
        b"ab\n" * 3333 + b"c",
        "\U0010ffff".encode(),
    ):
        path.write_bytes(text)
        check_raw(run(path).stdout, bundle, path)
    path.write_bytes(b"")
    told = json.loads(run(path).stdout)
    assert told.get("label", "") == ""
    for bad in (b"a\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf0\x9f\x98"):
        path.write_bytes(bad)
        assert "must be UTF-8" in run(path, fails=True).stderr
    if bundle.graph("pipeline").inputs[0].dtype == "string":
        path.write_bytes(b"a\0b")
        told = run(path, fails=True).stderr
        assert "U+0000" in told or "zero byte" in told


def python_answer(bundle: Bundle, path: Path) -> Any:
    pipeline = Pipeline(bundle)
    whole = pipeline.read_folder(path) if path.is_dir() else None
    (answer,) = pipeline.answer([whole or pipeline.read(path.read_bytes(), path.name)])
    return answer


def right_answers(bundle: Bundle, path: Path) -> list[Any]:
    """What `rnn-edge run` says, one entry a step."""
    pipeline = Pipeline(bundle)
    (answer,) = pipeline.answer([pipeline.read(path.read_bytes(), path.name)])
    told = answer.to_dict()
    steps = told.get("steps", [told])
    return [step.get("values", step) if "label" not in step else step for step in steps]


def numbers_of(answer: Any) -> list[float]:
    """The numbers in an answer, in order, whatever the nesting."""
    if isinstance(answer, dict):
        return [number for item in answer.values() for number in numbers_of(item)]
    if isinstance(answer, list):
        return [number for item in answer for number in numbers_of(item)]
    return [answer] if isinstance(answer, float | int) else []


def assert_answers(output: str, expected: list[Any]) -> None:
    """Each line of ``output`` is an answer in JSON."""
    found = [json.loads(line) for line in output.splitlines()]
    assert [a.get("label") for a in found if isinstance(a, dict)] == [
        a.get("label") for a in expected if isinstance(found[0], dict)
    ]
    np.testing.assert_allclose(numbers_of(found), numbers_of(expected), rtol=2e-5, atol=2e-6)


def prefix_answers(bundle: Bundle, values: list[float]) -> list[Any]:
    """The answers of the whole-sequence graph for ever longer beginnings of a series."""
    pipeline = Pipeline(bundle)
    lines = [" ".join(map(str, values[:count])) for count in range(1, len(values) + 1)]
    samples = [pipeline.read_line(line, "series") for line in lines]
    return [answer.to_dict()["values"] for answer in pipeline.answer(samples)]


def greedy_text(bundle: Bundle, prompt: str, length: int) -> str:
    return "".join(Pipeline(bundle).generate(prompt, Sampling(length=length, temperature=0)))


def drawn_text(bundle: Bundle, prompt: str, length: int, top_k: int | None = 5) -> str:
    """Of the seed 3, among the likeliest, at temperature 0.8."""
    how = Sampling(length=length, temperature=0.8, top_k=top_k, seed=3)
    return "".join(Pipeline(bundle).generate(prompt, how))


def short_tune(bundle: Bundle, prompt: str, length: int) -> tuple[str, int]:
    """A tune that ends before ``length`` characters, without the empty line, and its seed."""
    for seed in range(100):
        how = Sampling(length=length, temperature=1.2, top_k=9, seed=seed)
        text = prompt[-1] + "".join(Pipeline(bundle).generate(prompt, how))
        head, end, _ = text.partition("\n\n")
        if end and len(head) > 2:
            return head[1:] + "\n", seed
    raise AssertionError("no tune ends")


def change_manifest(folder: Path, change: Any) -> None:
    path = folder / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def spoil_golden_data(folder: Path, name: str) -> None:
    """Change the last number of a golden output, and its checksum with it."""
    path = folder / name
    content = bytearray(path.read_bytes())
    value = np.frombuffer(bytes(content[-4:]), "<f4") + np.float32(0.01)
    content[-4:] = value.tobytes()
    path.write_bytes(content)

    def seal(manifest: Any) -> None:
        manifest["files"][name]["sha256"] = hashlib.sha256(content).hexdigest()

    change_manifest(folder, seal)


def refuses_a_tampered_pipeline(command: list[Any], folder: Path) -> None:
    path = folder / "bundle" / "pipeline.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "pipeline.onnx" in call(*command, cwd=folder, fails=True).stderr
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def refuses_tampered_files(command: list[Any], folder: Path) -> None:
    """A flipped bit in the graph and a newer format: one line each, and right again afterwards.

    ``command`` is the program's self-test, ``folder`` its program folder.
    """
    place = folder / "bundle"
    keep = folder.with_name("kept")
    shutil.copytree(place, keep)
    model = bytearray((place / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (place / "model.onnx").write_bytes(model)
    assert "SHA-256" in call(*command, cwd=folder, fails=True).stderr
    shutil.copyfile(keep / "model.onnx", place / "model.onnx")
    change_manifest(place, lambda manifest: manifest.update(format_version=2))
    assert "format_version" in call(*command, cwd=folder, fails=True).stderr
    shutil.copyfile(keep / MANIFEST, place / MANIFEST)
    (place / "model.onnx").unlink()
    assert "model.onnx" in call(*command, cwd=folder, fails=True).stderr
    shutil.copyfile(keep / "model.onnx", place / "model.onnx")
    call(*command, cwd=folder)
