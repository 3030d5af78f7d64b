"""The C program over ONNX Runtime: built without warnings, right, and clean under valgrind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import native_programs
import programs
import pytest
from host_bundles import NAMES
from toolchain import call, need

from rnn_edge.bundle import Bundle
from rnn_edge.integration import integrate

BundleOf = Callable[[str], Bundle]
HERE = Path(__file__).parent
HOST = "c"


@pytest.mark.parametrize("name", NAMES)
def test_golden_data_and_answers_are_right(
    bundle_of: BundleOf, built: Callable[[str], Path], name: str, tmp_path: Path
) -> None:
    native_programs.check_answers(built(name), bundle_of(name), tmp_path)


@pytest.mark.parametrize(
    "name", ["bytes", "sentiment-portable", "speech", "captioning", "answering"]
)
def test_raw_files_are_answered_as_by_python(
    bundle_of: BundleOf, built: Callable[[str], Path], name: str, tmp_path: Path
) -> None:
    native_programs.check_raw(built(name), bundle_of(name), tmp_path)


def test_a_tune_ends_before_an_empty_line(
    bundle_of: BundleOf, built: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle, program = bundle_of("music"), built("music")
    tune, seed = programs.short_tune(bundle, "R:jig\n", 300)
    how = ("300", "1.2", "9", "1", str(seed))
    told = call(program, "generate", "R:jig\n", *how, "bundle", cwd=program.parents[1])
    assert told.stdout == tune + "\n"


def test_bad_files_are_refused(built: Callable[[str], Path], tmp_path: Path) -> None:
    native_programs.check_refusals(built("forecast"), tmp_path)


def test_bad_tensors_are_refused_and_nothing_leaks(
    bundle_of: BundleOf, built: Callable[[str], Path], runtime: Path, tmp_path: Path
) -> None:
    need("valgrind")
    folder = built("forecast").parents[1]
    bad = tmp_path / "bad"
    call(
        *("gcc", "-std=c99", "-I", folder, HERE / "bad_input.c", "-o", bad),
        *(folder / "build" / "libforecast_model.a", runtime / "lib" / "libonnxruntime.so.1"),
        *("-lm", f"-Wl,-rpath,{runtime / 'lib'}"),
        cwd=folder,
    )
    options = ("-q", "--leak-check=full", "--error-exitcode=9")
    checked = ("valgrind", *options, f"--suppressions={HERE / 'valgrind.supp'}")
    output = call(*checked, bad, cwd=folder).stdout
    native_programs.check_refused_tensors(output, bundle_of("forecast"))
    call(*checked, built("forecast"), "self-test", "bundle", cwd=folder)


def test_readme_is_short(bundle_of: BundleOf, tmp_path: Path) -> None:
    integrate(bundle_of("forecast"), "c", tmp_path / "c")
    assert len((tmp_path / "c" / "README.md").read_text().splitlines()) < 40
