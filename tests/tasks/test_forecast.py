"""The forecast task: its data, its baselines, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import rnn_edge
from rnn_edge.batching import ArraySplit, SequenceSplit
from rnn_edge.contract import SeriesFrontEnd
from rnn_edge.errors import DataError, TrainingError
from rnn_edge.tasks.forecast import Forecast, last_values, noisy_sine, read_series, targets


def write_csv(path: Path, values: list[float], header: str = "x") -> str:
    path.write_text("\n".join([header, *map(str, values)]) + "\n")
    return str(path)


def test_the_sine_is_the_named_one() -> None:
    residual = noisy_sine(0).numpy() - np.sin(0.01 * np.arange(1, 1001))
    assert len(residual) == 1000
    assert abs(residual.mean()) < 0.03
    assert residual.std() == pytest.approx(0.2, abs=0.02)


def test_the_first_600_points_of_the_sine_train_and_the_rest_tests() -> None:
    data = Forecast().load("sine", seed=3)
    values = noisy_sine(3)
    assert data.validation is not None
    assert isinstance(data.test, ArraySplit)
    assert len(data.train) + len(data.validation) == 596
    assert torch.equal(data.test.targets.flatten(), values[600:])
    assert torch.equal(data.test.inputs[0][0].flatten(), values[596:600])


def test_a_window_predicts_the_value_behind_it(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "count.csv", list(range(100)))
    data = Forecast(window=7).load(source, seed=0)
    for split in (data.train, data.validation, data.test):
        assert split is not None
        for batch in split.batches(1000):
            values, lengths = batch.inputs
            assert values.shape[1:] == (7, 1)
            assert torch.equal(values[:, 0] + 7, batch.targets)
            assert lengths.tolist() == [7] * len(values)


def test_a_file_is_split_in_the_order_of_time(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "count.csv", list(range(100)))
    data = Forecast(window=5).load(source, seed=0)
    assert data.validation is not None
    train, validation, test = (
        targets(split).flatten().tolist() for split in (data.train, data.validation, data.test)
    )
    assert train == list(range(5, 70))
    assert validation == list(range(70, 80))
    assert test == list(range(80, 100))


def test_normalisation_is_that_of_the_training_part(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "count.csv", list(range(100)))
    interface = Forecast(window=5).load(source, seed=0).interface
    front_end = interface.front_end
    assert isinstance(front_end, SeriesFrontEnd)
    assert front_end.columns == ("x",)
    assert front_end.mean[0] == pytest.approx(np.arange(70).mean())
    assert front_end.std[0] == pytest.approx(np.arange(70).std())
    assert interface.facts["step"] == [1.0]


def test_progressions_have_lengths_of_their_own_and_go_on_by_their_step() -> None:
    data = Forecast().load("progressions", seed=0)
    assert isinstance(data.train, SequenceSplit)
    assert set(data.train.lengths.tolist()) == set(range(2, 13))
    for row, target in zip(data.train.sequences, data.train.targets, strict=True):
        assert target == 2 * row[-1] - row[-2]


def test_no_progression_is_in_two_splits() -> None:
    data = Forecast().load("progressions", seed=0)
    kinds = []
    for split in (data.train, data.validation, data.test):
        assert isinstance(split, SequenceSplit)
        kinds.append({(float(row[0]), float(row[1] - row[0])) for row in split.sequences})
    assert sum(map(len, kinds)) == len(set.union(*kinds)) == 101 * 21


def test_the_last_value_baseline_reads_the_last_valid_step() -> None:
    data = Forecast().load("progressions", seed=0)
    assert isinstance(data.test, SequenceSplit)
    expected = torch.stack([row[-1] for row in data.test.sequences])
    assert torch.equal(last_values(data.test), expected)


def test_the_report_gives_the_mean_squared_errors(tmp_path: Path) -> None:
    task = Forecast()
    data = task.load("sine", seed=0)
    module = task.build(task.model, data.interface)  # untrained: repeats the last value
    scores = task.report(module.eval(), data).scores
    values = noisy_sine(0).numpy()
    expected = np.square(np.diff(values)[599:]).mean()
    assert scores["last value"]["mse"] == pytest.approx(expected, rel=1e-5)
    assert scores["model"]["mse"] == pytest.approx(expected, rel=1e-5)
    assert 0.04 < scores["MLP 4-10-1"]["mse"] < 0.075


def test_a_trained_model_continues_progressions(tmp_path: Path) -> None:
    module = rnn_edge.train("forecast", "progressions", output=tmp_path / "run", epochs=10).module
    values = torch.tensor([[[1.0], [2], [3], [0], [0]], [[3], [5], [7], [9], [11]]])
    predicted = module(values, torch.tensor([3, 5])).flatten().tolist()
    assert predicted == pytest.approx([4, 13], abs=0.5)


def test_a_byte_order_mark_crlf_and_other_columns_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_bytes(b"\xef\xbb\xbfdate,OT\r\n2020-01-01,1.5\r\n2020-01-02,-2\r\n")
    column, values = read_series(str(path), None)
    assert (column, values.tolist()) == ("OT", [1.5, -2.0])


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        (b"", None, "must hold text, it is empty"),
        (b"x\n", None, "must hold rows under its header"),
        (b"x,y\n1,2\n3\n", "x", "must have 2 fields like the header, got 1 in line 3"),
        (b"x\n1\n\xff\n", None, "must be UTF-8, got byte 0xff in line 3"),
        (b"x\n1\nnan\n", None, "x of .* must hold finite numbers, got 'nan' in line 3"),
        (b"x\n1\n1e999\n", None, "must hold finite numbers, got '1e999' in line 3"),
        (b"x\n1\nten\n", None, "must hold finite numbers, got 'ten' in line 3"),
        (b"x,y\n1,\n", "y", "must hold finite numbers, got '' in line 2"),
        (b"x,y\n1,2\n", "z", "must include 'z', got x, y. Choose one of them with --column"),
        (b"x,y\n1,2\n", None, "must be chosen from x, y, it is not. Name it with --column"),
        (b"1\n2\n3\n", None, "must name its columns in the first line"),
        (b"x\n1\n2\n3\n", None, "must have more rows for windows of 48, got 3"),
        (None, None, "must be a file that can be read"),
    ],
)
def test_unusable_files_are_refused_in_one_line(
    tmp_path: Path, content: bytes | None, column: str | None, message: str
) -> None:
    path = tmp_path / "series.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        Forecast(column=column).load(str(path), seed=0)
    assert "\n" not in str(caught.value)


def test_too_few_rows_for_the_window_are_refused(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "count.csv", list(range(100)))
    with pytest.raises(DataError, match="more rows for windows of 90, got 100"):
        Forecast(window=90).load(source, seed=0)


def test_reading_backwards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="must read its sequences forwards"):
        rnn_edge.train("forecast", output=tmp_path / "run", bidirectional=True)


def test_prediction_is_drawn(tmp_path: Path) -> None:
    rnn_edge.train("forecast", output=tmp_path / "run", epochs=1, hidden_size=2, plot=True)
    assert (tmp_path / "run" / "prediction.png").read_bytes().startswith(b"\x89PNG")
