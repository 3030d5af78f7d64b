"""The small TensorProto reader, against the onnx package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import numpy_helper

from rnn_edge.errors import BundleError
from rnn_edge.verification.tensor_file import read_tensor_file

DTYPES = ["float32", "float64", "float16", "int64", "int32", "int8", "uint8", "uint16", "bool"]


@given(
    array=st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0))
    ),
    name=st.text(max_size=300).filter(lambda text: text.isprintable()),
)
def test_reads_what_onnx_writes(
    array: np.ndarray, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("tensor") / "input_0.pb"
    path.write_bytes(numpy_helper.from_array(array, name).SerializeToString())
    found_name, found = read_tensor_file(path)
    assert found_name == name
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)


def test_reads_texts(tmp_path: Path) -> None:
    texts = np.array([["a", ""], ["e\u0301\r\n", "\U0001f600" * 99]], object)
    path = tmp_path / "input_0.pb"
    path.write_bytes(numpy_helper.from_array(texts, "text").SerializeToString())
    name, found = read_tensor_file(path)
    assert name == "text"
    assert found.tolist() == texts.tolist()


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    data = numpy_helper.from_array(np.ones((3, 4), np.float32), "x").SerializeToString()
    path = tmp_path / "input_0.pb"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(BundleError, match=r"input_0\.pb"):
            read_tensor_file(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"input_3\.pb"):
        read_tensor_file(tmp_path / "input_3.pb")
