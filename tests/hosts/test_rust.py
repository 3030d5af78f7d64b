"""The crate around the generated C: built without a warning, compared with the golden data."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from host_bundles import CELLS
from toolchain import call, need

from rnn_edge.bundle import Bundle
from rnn_edge.errors import InputError
from rnn_edge.integration import integrate

BAD = """
use forecast::{{BadInput, Model}};

#[test]
fn bad_input_leaves_the_state() {{
    let mut model = Model::new();
    let frame = [0.5_f32; {size}];
    let first = model.push(&frame).unwrap();
    let mut other = model.clone();
    for bad in [f32::NAN, f32::INFINITY] {{
        let mut wrong = frame;
        wrong[{size} - 1] = bad;
        assert_eq!(model.push(&wrong), Err(BadInput));
    }}
    let second = model.push(&frame).unwrap();
    assert_eq!(second, other.push(&frame).unwrap());
    assert_ne!(second, first);
    assert_eq!(model.run(&[frame, frame]).unwrap(), [first, second]);
}}
"""


def cargo(folder: Path, *command: str, fails: bool = False) -> str:
    need("rustc", "cargo", "cc")
    flags = ("env", "RUSTFLAGS=-D warnings", f"CARGO_HOME={folder.parent / 'cargo'}")
    if fails:
        with pytest.raises(AssertionError) as found:
            call(*flags, "cargo", *command, "--offline", "-q", cwd=folder)
        return str(found.value)
    return call(*flags, "cargo", *command, "--offline", "-q", cwd=folder).stdout


def worst_error(text: str) -> float:
    match = re.search(r"worst error (\S+),", text)
    assert match is not None, text
    return float(match[1])


@pytest.mark.parametrize("name", CELLS)
def test_tasks_equal_eager_torch(
    bundle_of: Callable[[str], Bundle], name: str, tmp_path: Path
) -> None:
    bundle, folder = bundle_of(name), tmp_path / "crate"
    if "stream" not in bundle.contract.graphs:
        with pytest.raises(InputError, match="stream"):
            integrate(bundle, "rust", folder)
        return
    integrate(bundle, "rust", folder)
    assert len((folder / "README.md").read_text().splitlines()) < 40
    assert worst_error(cargo(folder, "run", "--bin", "self_test")) < 4e-6
    golden = folder / "golden.bin"
    content = bytearray(golden.read_bytes())
    content[-1] ^= 0x40
    golden.write_bytes(content)
    cargo(folder, "run", "--bin", "self_test", fails=True)
    golden.write_bytes(content[:-1])
    told = cargo(folder, "run", "--bin", "self_test", fails=True)
    assert f"must have {len(content)} bytes" in told


def test_bad_input_leaves_the_state(bundle_of: Callable[[str], Bundle], tmp_path: Path) -> None:
    folder = tmp_path / "crate"
    integrate(bundle_of("forecast"), "rust", folder)
    size = re.search(r"frames: &\[\[f32; (\d+)\]\]", (folder / "src" / "lib.rs").read_text())
    assert size is not None
    (folder / "tests").mkdir()
    (folder / "tests" / "bad.rs").write_text(BAD.format(size=size[1]))
    cargo(folder, "test", "--test", "bad")
