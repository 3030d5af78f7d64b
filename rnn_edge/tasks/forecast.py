"""Predict the next value of a series of numbers."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.batching import ArraySplit, Batch, SequenceSplit, Split
from rnn_edge.contract import AxisLimits, SeriesFrontEnd, ValueDecoder
from rnn_edge.drawing import draw_prediction
from rnn_edge.errors import DataError
from rnn_edge.models.forecaster import Forecaster
from rnn_edge.tasks.task import (
    Deployment,
    Interface,
    ModelOptions,
    Option,
    Report,
    State,
    Task,
    TaskData,
    TrainingOptions,
)
from rnn_edge.text_file import Table, parse_table, read_text

SINE_WINDOW = 4
SINE_TRAINING_POINTS = 600
FILE_WINDOW = 48
# Of a file: the first part trains, the second picks the best epoch, the rest tests.
TRAINING_SHARE, VALIDATION_SHARE = 0.7, 0.1
SMALLEST_SPLIT = 5
LONGEST_PROGRESSION = 12


class Forecast(Task):
    """Windows of a series, or sequences of different lengths; mean squared error in raw units."""

    model = ModelOptions(cell="lstm", hidden_size=32)
    training = TrainingOptions(
        epochs=10, batch_size=128, lr=5e-3, weight_decay=1e-2, schedule="one-cycle"
    )
    recipes: ClassVar = {
        "sine": {"hidden_size": 16, "epochs": 30, "batch_size": 32, "keep": "last"},
        "progressions": {"epochs": 30},
    }
    options = (
        Option(
            "column", None, "Column of the CSV file to predict; needed if it has several.", kind=str
        ),
        Option(
            "window",
            None,
            f"Values that a prediction sees: {SINE_WINDOW} for sine, {FILE_WINDOW} for a file.",
            kind=int,
            minimum=1,
        ),
    )
    causal = True
    embedded = ("sine", "progressions")
    data_help = "a CSV file with a header, one row a time step"
    metric = "mse"

    def load(self, data: str | None, seed: int) -> TaskData:
        source = data or self.embedded[0]
        if source == "progressions":
            if self.own["window"] or self.own["column"]:
                raise DataError("progressions must have no window and no column. Leave them out.")
            return progressions(seed)
        if source == "sine":
            if self.own["column"]:
                raise DataError("sine must have no column. Leave it out.")
            window = self.own["window"] or SINE_WINDOW
            borders = (SINE_TRAINING_POINTS * 9 // 10, SINE_TRAINING_POINTS)
            return windowed(noisy_sine(seed), window, borders, "sine", "sine", sine=True)
        column, values = read_series(source, self.own["column"])
        count = len(values)
        borders = (
            int(count * TRAINING_SHARE),
            int(count * (TRAINING_SHARE + VALIDATION_SHARE)),
        )
        window = self.own["window"] or FILE_WINDOW
        return windowed(values, window, borders, column, f"{column} of {Path(source).name}")

    def build(self, options: ModelOptions, interface: Interface) -> nn.Module:
        assert isinstance(interface.front_end, SeriesFrontEnd)
        return Forecaster(
            interface.front_end.mean,
            interface.front_end.std,
            interface.facts["step"],
            cell=options.cell,
            hidden_size=options.hidden_size,
            num_layers=options.num_layers,
            dropout=options.dropout,
            residual=options.residual,
        )

    def forward(
        self, module: nn.Module, batch: Batch, state: State | None
    ) -> tuple[Any, State | None]:
        """The prediction and the typical change, in which the loss measures errors."""
        return (module(*batch.inputs), module.step), None

    def loss(self, output: Any, batch: Batch) -> Tensor:
        prediction, step = output
        return F.huber_loss(prediction / step, batch.targets / step)

    def measure(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        return {"mse": (output[0].detach() - batch.targets).square().mean()}

    def report(self, module: nn.Module, data: TaskData) -> Report:
        scores = {
            "model": {"mse": self.evaluate(module, data.test)["mse"]},
            "last value": {
                "mse": float((last_values(data.test) - targets(data.test)).square().mean())
            },
        }
        if data.interface.facts["sine"]:
            prediction = multilayer_perceptron(data)
            error = (prediction - targets(data.test)).square().mean()
            window = data.interface.facts["longest"]
            scores[f"MLP {window}-10-1"] = {"mse": float(error)}
        return Report(scores)

    def plot(self, module: nn.Module, data: TaskData, folder: Path) -> None:
        predicted = torch.cat([output[0] for output, _ in self.predictions(module, data.test)])
        front_end = data.interface.front_end
        assert isinstance(front_end, SeriesFrontEnd)
        draw_prediction(
            folder / "prediction.png",
            targets(data.test).flatten().tolist(),
            {"prediction": predicted.flatten().tolist()},
            front_end.columns[0],
        )

    def deployment(self, module: nn.Module, interface: Interface) -> Deployment:
        generator = torch.Generator().manual_seed(0)
        return Deployment(
            args=(torch.randn(3, 7, 1, generator=generator), torch.tensor([7, 2, 5])),
            axes=[("batch", "sequence", None), ("batch",)],
            output_names=["prediction"],
            front_end=interface.front_end,
            decoder=interface.decoder,
            limits={"sequence": AxisLimits(1, trained_maximum=interface.facts["longest"])},
            meanings={
                "values": "the series as it is measured, oldest value first",
                "lengths": "valid steps of each row",
                "prediction": "the value after the last valid one",
            },
        )


# --- Data -------------------------------------------------------------------------------------


def noisy_sine(seed: int) -> Tensor:
    """float32[1000]: sin(0.01 i) for i = 1 to 1000, with noise of standard deviation 0.2."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.arange(1, 1001, dtype=torch.float32)
    return torch.sin(0.01 * steps) + 0.2 * torch.randn(1000, generator=generator)


def windowed(
    values: Tensor,
    window: int,
    borders: tuple[int, int],
    column: str,
    source: str,
    *,
    sine: bool = False,
) -> TaskData:
    """Every ``window`` values of float32[count] predict the next, split by where that one stands.

    ``borders`` are the places in the series of the first validation and the first test target.
    """
    needed = window + SMALLEST_SPLIT
    if len(values) < needed or borders[0] < needed or borders[1] - borders[0] < SMALLEST_SPLIT:
        raise DataError(
            f"{source} must have more rows for windows of {window}, got {len(values)}. "
            "Give more data, or a smaller --window."
        )
    inputs = values[:-1].unfold(0, window, 1).unsqueeze(2)
    lengths = torch.full((len(inputs),), window, dtype=torch.int64)
    following = values[window:].unsqueeze(1)
    places = [0, borders[0] - window, borders[1] - window, len(inputs)]
    train, validation, test = (
        ArraySplit((inputs[first:end], lengths[first:end]), following[first:end])
        for first, end in pairwise(places)
    )
    return TaskData(
        train,
        validation,
        test,
        series_interface(column, values[: borders[0]], train, longest=window, sine=sine),
        f"{source}: windows of {window}, {len(train)} to train, {len(validation)} to validate, "
        f"{len(test)} to test",
    )


def progressions(seed: int) -> TaskData:
    """Progressions of 2 to 12 numbers, such as 3 5 7 9 11: start -50 to 50, step -10 to 10.

    Each start and step stands in one split only, at two lengths.
    """
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.cartesian_prod(torch.arange(-50.0, 51.0), torch.arange(-10.0, 11.0))
    kinds = kinds[torch.randperm(len(kinds), generator=generator)].repeat_interleave(2, dim=0)
    lengths = torch.randint(2, LONGEST_PROGRESSION + 1, (len(kinds),), generator=generator)
    following = kinds[:, :1] + kinds[:, 1:] * lengths.unsqueeze(1)
    rows = [
        (start + step * torch.arange(length)).unsqueeze(1)
        for (start, step), length in zip(kinds, lengths.tolist(), strict=True)
    ]
    count = len(kinds) // 2
    ends = [0, 2 * int(0.7 * count), 2 * int(0.8 * count), len(rows)]
    train, validation, test = (
        SequenceSplit(rows[first:end], following[first:end]) for first, end in pairwise(ends)
    )
    seen = torch.cat(train.sequences)
    return TaskData(
        train,
        validation,
        test,
        series_interface("number", seen, train, longest=LONGEST_PROGRESSION),
        f"progressions: {len(train)} to train, {len(validation)} to validate, {len(test)} to test",
    )


def series_interface(
    column: str, seen: Tensor, train: Split, *, longest: int, sine: bool = False
) -> Interface:
    """Mean and standard deviation of ``seen``, the training values, and what ``train`` tells."""
    std = float(seen.std(correction=0))
    step = float((targets(train) - last_values(train)).square().mean().sqrt())
    front_end = SeriesFrontEnd(columns=(column,), mean=(float(seen.mean()),), std=(std or 1.0,))
    # step: the typical change from the last value to the next, one number a feature.
    facts = {"longest": longest, "sine": sine, "step": [step or 1.0]}
    return Interface(front_end, ValueDecoder((column,)), facts)


def read_series(path: str, column: str | None) -> tuple[str, Tensor]:
    """One column of a CSV file as float32[rows], and its name. Raises DataError."""
    table = parse_table(read_text(path), path)
    if all(_number(name) is not None for name in table.columns):
        raise DataError(
            f"{path} must name its columns in the first line, got numbers. Add a header line."
        )
    if column is None:
        numeric = [
            name
            for place, name in enumerate(table.columns)
            if _number(table.rows[0].fields[place]) is not None
        ]
        if len(numeric) != 1:
            raise DataError(
                f"column must be chosen from {', '.join(table.columns)}, it is not. "
                "Name it with --column."
            )
        column = numeric[0]
    return column, torch.tensor(_column(table, column), dtype=torch.float32)


def _column(table: Table, column: str) -> list[float]:
    place = table.index(column, "--column")
    values = []
    for row in table.rows:
        value = _number(row.fields[place])
        if value is None or not math.isfinite(value):
            raise DataError(
                f"{column} of {table.source} must hold finite numbers, "
                f"got {row.fields[place]!r} in line {row.line}. Correct or remove the line."
            )
        values.append(value)
    return values


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


# --- Baselines --------------------------------------------------------------------------------


def targets(split: Split) -> Tensor:
    """float32[count, 1], in evaluation order."""
    return torch.cat([batch.targets for batch in split.batches(256)])


def last_values(split: Split) -> Tensor:
    """float32[count, 1]: the last valid value of each row, the forecast that needs no model."""
    found = []
    for batch in split.batches(256):
        values, lengths = batch.inputs
        found.append(values[torch.arange(len(values)), lengths - 1])
    return torch.cat(found)


def multilayer_perceptron(data: TaskData) -> Tensor:
    """float32[count, 1]: test predictions of a window-10-1 network with ReLU, trained here."""
    assert isinstance(data.train, ArraySplit)
    assert isinstance(data.test, ArraySplit)
    window = data.interface.facts["longest"]
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(window, 10), nn.ReLU(), nn.Linear(10, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(20):
        for batch in data.train.batches(16, generator):
            optimizer.zero_grad()
            error = network(batch.inputs[0].squeeze(2)) - batch.targets
            error.square().mean().backward()
            optimizer.step()
    with torch.inference_mode():
        return network(data.test.inputs[0].squeeze(2))
