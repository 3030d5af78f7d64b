"""Frames from a pipe: where they lie in the arrays that a graph takes."""

from __future__ import annotations

import io

import numpy as np
import pytest

from rnn_edge.contract import GraphContract, StreamRule, TensorSpec
from rnn_edge.errors import InputError
from rnn_edge.runtime.stream_reader import ChunkShape, read_lines, read_raw


def shape_of(*dims: int | str, dtype: str = "float32") -> ChunkShape:
    spec = TensorSpec("x", dtype, dims)
    return ChunkShape(GraphContract("s.onnx", (spec,), (spec,), stream=StreamRule("time")))


FRAMES = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        (("batch", "time", 4), FRAMES[None]),
        (("time", "batch", 4), FRAMES[:, None]),
        (("batch", 4, "time"), FRAMES.T[None]),
        (("time", 4), FRAMES),
        ((4, "time"), FRAMES.T),
        (("batch", "time", 2, 2), FRAMES.reshape(1, 3, 2, 2)),
        (("batch", 2, "time", 2), np.moveaxis(FRAMES.reshape(1, 3, 2, 2), 1, 2)),
    ],
)
def test_frames_lie_where_the_input_has_its_time(
    dims: tuple[int | str, ...], expected: np.ndarray
) -> None:
    shape = shape_of(*dims)
    assert shape.width == 4
    np.testing.assert_array_equal(shape.chunk(FRAMES), expected)
    (raw,) = read_raw(io.BytesIO(FRAMES.astype("<f4").tobytes()), shape, 9)
    np.testing.assert_array_equal(raw, expected)


def test_one_number_a_step_needs_no_axis_of_its_own() -> None:
    chunks = list(read_lines(io.BytesIO(b"1\n2\n\n3"), shape_of("batch", "time"), None, 2))
    assert [chunk.tolist() for chunk in chunks] == [[[1, 2]], [[3]]]


@pytest.mark.parametrize("line", ["1,2", "1;2", "1\t2", "1 2", ' "1", "2" ', "\ufeff1, 2"])
def test_fields_are_apart_by_any_usual_mark(line: str) -> None:
    (chunk,) = read_lines(io.BytesIO(line.encode()), shape_of("time", 2), None, 1)
    assert chunk.tolist() == [[1, 2]]


def test_whole_numbers_stay_whole() -> None:
    ids = shape_of("batch", "time", dtype="int64")
    (chunk,) = read_lines(io.BytesIO(b"7\n"), ids, None, 1)
    assert (chunk.dtype, chunk.tolist()) == (np.int64, [[7]])
    with pytest.raises(InputError, match="must be whole numbers that fit int64"):
        list(read_lines(io.BytesIO(b"7.5\n"), ids, None, 1))
    with pytest.raises(InputError, match="raw frames must go to an input of numbers"):
        list(read_raw(io.BytesIO(b"1234"), ids, 1))
