from pathlib import Path

import numpy as np
import pytest
import tiny_bundles

from rnn_edge.bundle import Bundle
from rnn_edge.contract import METADATA_KEY
from rnn_edge.errors import DataError, InputError
from rnn_edge.runtime import Pipeline
from rnn_edge.runtime.pipeline import file_content

WORDS = ["a", "bab 好", "好 ab", "b", "a" * 17, "ab"]


def probabilities(pipeline: Pipeline, texts: list[str]) -> list[np.ndarray]:
    samples = [pipeline.read_line(text, "x") for text in texts]
    return [answer.probabilities for answer in pipeline.answer(samples)]


@pytest.fixture(scope="module")
def text(text_bundle: Bundle) -> Pipeline:
    return Pipeline(text_bundle)


def test_texts_of_different_lengths_are_answered_in_order(text):
    ids = [[tiny_bundles.VOCABULARY.index(character) for character in word] for word in WORDS]
    for found, row in zip(probabilities(text, WORDS), ids, strict=True):
        np.testing.assert_allclose(found, tiny_bundles.text_answer(row), atol=1e-6)


def test_an_answer_does_not_depend_on_the_others_in_its_batch(text):
    together = probabilities(text, WORDS * 40)
    for word, found in zip(WORDS * 40, together, strict=True):
        (alone,) = probabilities(text, [word])
        np.testing.assert_allclose(found, alone, atol=1e-6)


@pytest.mark.parametrize("lengths", [True, False])
def test_tables_of_different_lengths_are_answered_in_order(tmp_path, lengths):
    pipeline = Pipeline(tiny_bundles.write_series(tmp_path / "s", lengths=lengths))
    random = np.random.default_rng(0)
    tables = [random.normal(size=(n, 2)).astype(np.float32) for n in (3, 1, 7, 3, 2, 7, 1)]
    contents = ["\n".join(f"{a!r},{b!r}" for a, b in rows.tolist()) for rows in tables]
    samples = [pipeline.read(content.encode(), "x") for content in contents]
    for answer, rows in zip(pipeline.answer(samples), tables, strict=True):
        np.testing.assert_allclose(answer.values, tiny_bundles.series_answer(rows), atol=1e-6)


def test_an_image_is_answered(image_bundle):
    import io

    from PIL import Image

    pixels = np.random.default_rng(3).integers(0, 256, (4, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    pipeline = Pipeline(image_bundle)
    (answer,) = pipeline.answer([pipeline.read(stream.getvalue(), "x")])
    np.testing.assert_allclose(answer.probabilities, tiny_bundles.image_answer(pixels), atol=1e-6)


def test_an_output_with_time_is_cut_to_each_sequence_s_length(tmp_path):
    # A model that doubles its input, step by step; time stands first.
    bundle = tiny_bundles.write_doubling(tmp_path / "d")
    pipeline = Pipeline(bundle)
    samples = [pipeline.read_line(text, "x") for text in ("1 2 3", "4", "5 6")]
    found = [answer.values[:, 0].tolist() for answer in pipeline.answer(samples)]
    assert found == [[2, 4, 6], [8], [10, 12]]


def test_a_file_s_last_line_break_is_not_part_of_its_text(text):
    assert text.read(b"ab\r\n", "x").sequence.tolist() == [2, 3]


def test_a_byte_order_mark_is_not_part_of_the_text(text):
    assert text.read(b"\xef\xbb\xbfab", "x").sequence.tolist() == [2, 3]


def test_lines_are_samples_and_blank_ones_are_skipped(text):
    samples = text.read_lines(b"ab\r\n\r\n b\n", "f")
    assert [sample.sequence.tolist() for sample in samples] == [[2, 3], [5, 3]]
    assert [sample.source for sample in samples] == ["f, line 1,", "f, line 3,"]


def test_bytes_that_are_not_utf_8_are_refused(text):
    with pytest.raises(DataError, match="f must be UTF-8, got byte 0xff in line 2"):
        text.read(b"a\n\xff", "f")


def lone_file(bundle: Bundle, folder: Path) -> Path:
    """The bundle's graph as a file that says nothing beyond its tensors."""
    import onnx

    model = onnx.load(bundle.graph_path())
    kept = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    path = folder / "lone.onnx"
    onnx.save(model, path)
    return path


def test_a_lone_file_without_a_front_end_reads_rows_of_numbers(series_bundle, tmp_path):
    path = lone_file(series_bundle, tmp_path)
    pipeline = Pipeline(path)
    (answer,) = pipeline.answer([pipeline.read(b"1,2\n3,4\n", "x")])
    expected = tiny_bundles.series_answer(np.array([[1, 2], [3, 4]], np.float32))
    np.testing.assert_allclose(answer.values, expected, atol=1e-6)
    assert answer.columns == ("y[0]",)


def test_a_graph_that_no_front_end_fits_is_refused(text_bundle, tmp_path):
    path = lone_file(text_bundle, tmp_path)
    with pytest.raises(InputError, match="must have a front end, or take float"):
        Pipeline(path)


def test_a_language_model_answers_no_samples(language_bundle):
    pipeline = Pipeline(language_bundle)
    with pytest.raises(InputError, match="a language model continues a prompt"):
        pipeline.answer([pipeline.read_line("a", "x")])


def test_a_missing_file_a_folder_and_an_empty_file_are_named(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    for name, message in (
        ("missing", "it is not there"),
        ("", "Is a directory|Permission denied"),
        ("empty", "it is empty"),
    ):
        with pytest.raises(InputError, match=message):
            file_content(tmp_path / name)
