"""Programs in C and C++: how they are built, and what both must do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import programs
from toolchain import HOSTS, call, need

from rnn_edge.bundle import Bundle
from rnn_edge.integration import integrate


def runtime_folder(place: Path) -> Path:
    """include/ and lib/ of ONNX Runtime: Debian's headers, and the library of the wheel."""
    need("cmake", "gcc", "g++", "onnxruntime/include/onnxruntime_c_api.h")
    if not place.exists():
        (place / "lib").mkdir(parents=True)
        (place / "include").symlink_to(HOSTS / "onnxruntime" / "include")
        capi = Path(onnxruntime.__file__).parent / "capi"
        (library,) = capi.glob("libonnxruntime.so.*.*.*")
        (place / "lib" / "libonnxruntime.so.1").symlink_to(library)
        (place / "lib" / "libonnxruntime.so").symlink_to("libonnxruntime.so.1")
    return place


def build(bundle: Bundle, host: str, folder: Path, runtime: Path) -> Path:
    """The program of ``bundle``, free of warnings; built once for a folder."""
    program = folder / "build" / bundle.name.replace("-", "_")
    if program.exists():
        return program
    integrate(bundle, host, folder)
    flags = "-DCMAKE_C_FLAGS=-Werror", "-DCMAKE_CXX_FLAGS=-Werror"
    call("cmake", "-B", "build", f"-DONNXRUNTIME_DIR={runtime}", *flags, ".", cwd=folder)
    call("cmake", "--build", "build", cwd=folder)
    return program


def check_answers(program: Path, bundle: Bundle, place: Path) -> None:
    """Golden data, whole inputs, streams and texts, against Python."""
    folder = program.parents[1]
    assert "outputs right" in call(program, "self-test", "bundle", cwd=folder).stdout
    if bundle.name in ("language-model", "byte-writer"):
        check_generation(program, bundle)
        return
    ours, theirs = programs.write_input(bundle, place)
    output = call(program, "run", theirs, "bundle", cwd=folder).stdout
    programs.assert_answers(output, programs.right_answers(bundle, ours))
    if bundle.name == "forecast":
        values = [0.5, -0.25, 0.125, 2.0]
        lines = "\n".join(map(str, values)) + "\n"
        output = call(program, "stream", "bundle", cwd=folder, text=lines).stdout
        programs.assert_answers(output, programs.prefix_answers(bundle, values))


def check_generation(program: Path, bundle: Bundle) -> None:
    folder = program.parents[1]

    def continued(temperature: str, seed: str) -> str:
        how = ("generate", "The ", "30", temperature, "5", "1", seed)
        return call(program, *how, "bundle", cwd=folder).stdout

    greedy = continued("0", "1")
    assert greedy == programs.greedy_text(bundle, "The ", 30) + "\n"
    assert continued("0.8", "3") == programs.drawn_text(bundle, "The ", 30) + "\n" != greedy
    largest = str(2**63 - 1)
    assert continued("1e-45", largest) == greedy
    right = ["9", "0.5", "5", "1", "7"]
    wrong = ("1e3", "warm", "2.5", "1,0", "")
    for place, text in enumerate(wrong):
        how = [*right[:place], text, *right[place + 1 :]]
        told = call(program, "generate", "The ", *how, "bundle", cwd=folder, fails=True)
        assert " must be " in told.stderr


def check_raw(program: Path, bundle: Bundle, place: Path) -> None:
    """A file of what a person has, whole and cut off, and the golden data of its pipeline."""
    folder = program.parents[1]
    assert "outputs right" in call(program, "self-test", "bundle", cwd=folder).stdout
    programs.refuses_a_tampered_pipeline([program, "self-test", "bundle"], folder)
    ours, theirs = programs.write_raw(bundle, place)
    programs.check_raw(call(program, "run", theirs, "bundle", cwd=folder).stdout, bundle, ours)
    for other in programs.other_forms(theirs):
        same = other if other.suffix == ".wav" else ours
        programs.check_raw(call(program, "run", other, "bundle", cwd=folder).stdout, bundle, same)
    if theirs.suffix != ".txt":
        theirs.write_bytes(theirs.read_bytes()[:40])
        assert " must " in call(program, "run", theirs, "bundle", cwd=folder, fails=True).stderr
        return

    def run(file: Path, *, fails: bool = False) -> Any:
        return call(program, "run", file, "bundle", cwd=folder, fails=fails)

    programs.check_texts(run, bundle, place)


def check_refusals(program: Path, place: Path) -> None:
    """Bad files, bad text and spoilt golden data: one line each."""
    folder = place / "program"
    shutil.copytree(program.parents[1] / "bundle", folder / "bundle")
    programs.refuses_tampered_files([program, "self-test", "bundle"], folder)
    for text, reason in (("x\nnan\n", "number"), ("x\n", "rows"), ("1,2\n", "rows"), ("", "rows")):
        (folder / "bad.csv").write_text(text)
        told = call(program, "run", "bad.csv", "bundle", cwd=folder, fails=True).stderr
        assert reason in told, told


def check_refused_tensors(output: str, bundle: Bundle) -> None:
    """``output``: a line for each attempt, then the answers of two pushes."""
    *told, first, second = output.splitlines()
    for line in told:
        assert " must " in line, output
    expected = programs.numbers_of(programs.prefix_answers(bundle, [0.5, -0.25]))
    np.testing.assert_allclose([float(first), float(second)], expected, rtol=2e-5, atol=2e-6)
