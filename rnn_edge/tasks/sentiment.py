"""Tell what class a text belongs to: positive, say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rnn_edge.batching import Batch, SequenceSplit
from rnn_edge.contract import LabelDecoder
from rnn_edge.errors import DataError
from rnn_edge.extras import import_extra
from rnn_edge.models.text_classifier import TextClassifier
from rnn_edge.tasks.characters import (
    character_arguments,
    character_deployment,
    character_options,
)
from rnn_edge.tasks.classification import (
    LABEL_SMOOTHING,
    ClassificationTask,
    labels_of,
    split_by_label,
)
from rnn_edge.tasks.task import (
    Deployment,
    Interface,
    ModelOptions,
    Option,
    TaskData,
    TrainingOptions,
)
from rnn_edge.text_file import Table as CsvTable
from rnn_edge.text_file import decode_text, parse_table, read_text
from rnn_edge.vocabulary import PADDING_ID, Vocabulary

TEXT_COLUMNS = ("text", "review")
# An epoch of training takes at least about this many texts: small data is gone through repeatedly.
EPOCH_EXAMPLES = 2000
LABEL_NAMES: dict[tuple[str, ...], tuple[str, ...]] = {("0", "1"): ("negative", "positive")}


class TrainingTexts(SequenceSplit):
    """The training part. An epoch goes through it several times when it is small, so that the
    same number of epochs serves a few hundred texts and many thousands."""

    def __init__(self, sequences: Sequence[Tensor], targets: Tensor) -> None:
        super().__init__(sequences, targets, PADDING_ID)
        self.passes = max(1, round(EPOCH_EXAMPLES / len(self)))

    def batch_count(self, batch_size: int) -> int:
        return self.passes * super().batch_count(batch_size)

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        for _ in range(self.passes):
            yield from super().batches(batch_size, generator)


class Sentiment(ClassificationTask):
    model = ModelOptions(cell="gru", hidden_size=128, bidirectional=True, dropout=0.4)
    training = TrainingOptions(
        epochs=6, batch_size=64, lr=3e-3, weight_decay=0.01, schedule="one-cycle", averaging=0.99
    )
    options = (
        Option("label_column", "label", "Column of the labels in the CSV file."),
        Option(
            "text_column",
            None,
            "Column of the texts in the CSV file; default text or review.",
            kind=str,
        ),
        *character_options(embedding_size=128, token_dropout=0.1),
        LABEL_SMOOTHING,
        Option("max_length", 1000, "Characters of a text that are read, at most.", minimum=1),
    )
    embedded = ("reviews",)
    data_help = "a CSV file with a label and a text in every row"
    # Not the accuracy: little validation data gives the same one to many epochs, and the loss
    # keeps the probabilities honest.
    metric = "loss"
    higher_is_better = False

    def load(self, data: str | None, seed: int) -> TaskData:
        table = _read(data)
        texts, names, labels = self._texts_and_labels(table)
        longest = max(len(text) for text in texts)
        cut = sum(len(text) > self.own["max_length"] for text in texts)
        texts = [text[: self.own["max_length"]] for text in texts]
        parts = split_by_label(labels, names, table.source, seed)
        vocabulary = Vocabulary.build(texts[row] for row in parts[0])
        ids = [torch.from_numpy(vocabulary.encode(text)) for text in texts]
        chosen = [([ids[row] for row in part], torch.from_numpy(labels[part])) for part in parts]
        train = TrainingTexts(*chosen[0])
        validation, test = (SequenceSplit(*part, PADDING_ID) for part in chosen[1:])
        description = (
            f"{table.source}: {len(texts)} texts of up to {longest} characters, "
            f"labels {', '.join(names)}; "
            f"{len(train)} to train, {len(validation)} to validate, {len(test)} to test; "
            f"{len(vocabulary)} characters"
        )
        if cut:
            description += f"; {cut} texts cut to {self.own['max_length']} characters"
        facts = {"longest": int(train.lengths.max())}
        interface = Interface(vocabulary.front_end(), LabelDecoder(names), facts)
        return TaskData(train, validation, test, interface, description)

    def build(self, options: ModelOptions, interface: Interface) -> nn.Module:
        arguments = character_arguments(self.own, options, interface)
        return TextClassifier(classes=len(labels_of(interface)), **arguments)

    def scores(
        self, true: np.ndarray, predicted: np.ndarray, labels: Sequence[str]
    ) -> dict[str, float]:
        """Accuracy, and the F1 of the second of two labels or the mean F1 of several."""
        two = len(labels) == 2
        f1 = import_extra("sklearn.metrics").f1_score(
            true, predicted, average="binary" if two else "macro", zero_division=0
        )
        name = f"F1 of {labels[1]}" if two else "mean F1"
        return {**super().scores(true, predicted, labels), name: float(f1)}

    def deployment(self, module: nn.Module, interface: Interface) -> Deployment:
        meaning = "one number a label; softmax gives probabilities"
        return character_deployment(interface, {"logits": meaning})

    def _texts_and_labels(
        self, table: CsvTable
    ) -> tuple[list[str], tuple[str, ...], npt.NDArray[np.int64]]:
        """The texts, the names of the labels, and int64[texts] places among the names."""
        label_index = table.index(self.own["label_column"], "--label-column")
        text_index = self._text_index(table)
        for row in table.rows:
            for index in (label_index, text_index):
                if not row.fields[index].strip():
                    raise DataError(
                        f"column {table.columns[index]!r} of {table.source} must be filled in "
                        f"every row, it is empty in line {row.line}. Fill or remove the row."
                    )
        texts = [row.fields[text_index].strip() for row in table.rows]
        values = [row.fields[label_index].strip() for row in table.rows]
        distinct = tuple(sorted(set(values)))
        if len(distinct) == 1:
            raise DataError(
                f"labels of {table.source} must have two values or more, got {distinct[0]!r} "
                "alone. Add texts with another label."
            )
        places = {value: place for place, value in enumerate(distinct)}
        labels = np.array([places[value] for value in values], dtype=np.int64)
        return texts, LABEL_NAMES.get(distinct, distinct), labels

    def _text_index(self, table: CsvTable) -> int:
        if self.own["text_column"] is not None:
            return table.index(self.own["text_column"], "--text-column")
        found = [name for name in TEXT_COLUMNS if name in table.columns]
        return table.index(found[0] if found else TEXT_COLUMNS[0], "--text-column")


def _read(data: str | None) -> CsvTable:
    if data is not None and data not in Sentiment.embedded:
        return parse_table(read_text(data), data)
    content = (files("rnn_edge.tasks") / "data" / "reviews.csv").read_bytes()
    return parse_table(decode_text(content, "reviews"), "reviews")
