"""The class around the generated C: built without a warning, compared with the golden data."""

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

STRICT = ("CFLAGS=-O1 -Werror", "JAVAC=javac -Werror")
BAD = """
package forecast;

import java.util.Arrays;

public final class Bad {
    public static void main(String[] none) {
        float[] frame = new float[Model.%s];
        Arrays.fill(frame, 0.5f);
        try (Model model = new Model(); Model other = new Model()) {
            float[] first = model.push(frame).%s();
            other.push(frame);
            for (float bad : new float[] {Float.NaN, Float.POSITIVE_INFINITY}) {
                float[] wrong = frame.clone();
                wrong[wrong.length - 1] = bad;
                requireRefused(() -> model.push(wrong));
            }
            requireRefused(() -> model.push(new float[frame.length + 1]));
            float[] second = model.push(frame).%s();
            require(Arrays.equals(second, other.push(frame).%s()));
            require(!Arrays.equals(second, first));
            require(Arrays.equals(model.run(new float[][] {frame, frame})[1].%s(), second));
        }
        Model closed = new Model();
        closed.close();
        try {
            closed.reset();
            require(false);
        } catch (IllegalStateException refused) {
            require(refused.getMessage().contains("closed"));
        }
    }

    private static void requireRefused(Runnable push) {
        try {
            push.run();
        } catch (IllegalArgumentException refused) {
            return;
        }
        require(false);
    }

    private static void require(boolean right) {
        if (!right) {
            throw new AssertionError();
        }
    }
}
"""


def make(folder: Path, *targets: str) -> str:
    need("javac", "java", "make", "cc")
    return call("make", "-s", *STRICT, *targets, cwd=folder).stdout


def worst_error(text: str) -> float:
    match = re.search(r"worst error (\S+),", text)
    assert match is not None, text
    return float(match[1])


@pytest.mark.parametrize("name", CELLS)
def test_tasks_equal_eager_torch(
    bundle_of: Callable[[str], Bundle], name: str, tmp_path: Path
) -> None:
    bundle = bundle_of(name)
    if "stream" not in bundle.contract.graphs:
        with pytest.raises(InputError, match="stream"):
            integrate(bundle, "java", tmp_path / "java")
        return
    integrate(bundle, "java", tmp_path / "java")
    assert len((tmp_path / "java" / "README.md").read_text().splitlines()) < 40
    assert worst_error(make(tmp_path / "java", "check")) < 4e-6
    golden = tmp_path / "java" / "golden.bin"
    content = bytearray(golden.read_bytes())
    content[-1] ^= 0x40
    golden.write_bytes(content)
    with pytest.raises(AssertionError):
        make(tmp_path / "java", "check")
    golden.write_bytes(content[:-1])
    with pytest.raises(AssertionError, match=f"must have {len(content)} bytes"):
        make(tmp_path / "java", "check")


def test_bad_input_leaves_the_state(bundle_of: Callable[[str], Bundle], tmp_path: Path) -> None:
    folder = tmp_path / "java"
    integrate(bundle_of("forecast"), "java", folder)
    source = (folder / "src" / "forecast" / "Model.java").read_text()
    size, answer = (
        re.search(r"(\w+_SIZE) =", source),
        re.search(r"record Answer\(\S+ (\w+)", source),
    )
    assert size is not None
    assert answer is not None
    bad = folder / "src" / "forecast" / "Bad.java"
    bad.write_text(BAD % (size[1], *[answer[1]] * 4))
    make(folder)
    options = ("-Djava.library.path=build", "-cp", "build/classes")
    call("java", *options, "forecast.Bad", cwd=folder)
