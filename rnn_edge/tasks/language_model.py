"""Predict the next character of a text, and write text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.batching import Batch, Split
from rnn_edge.contract import NextCharacterDecoder
from rnn_edge.errors import DataError
from rnn_edge.models.language_model import NextCharacterModel
from rnn_edge.tasks.characters import character_options
from rnn_edge.tasks.next_character import (
    NextCharacterTask,
    frequency_entropy,
    per_character,
    sample,
    vocabulary_of,
)
from rnn_edge.tasks.task import (
    Interface,
    ModelOptions,
    Option,
    Report,
    State,
    TaskData,
    TrainingOptions,
)
from rnn_edge.text_file import read_text
from rnn_edge.vocabulary import PADDING_ID, UNKNOWN_ID, Vocabulary

TEST_SHARE = 0.1
# The first part of the text: what stands right before the test part is of most use in training.
VALIDATION_SHARE = 0.02
SAMPLE_PROMPT = "\n\n"  # most texts have paragraphs; unknown characters do no harm
SAMPLE_LENGTH = 400


class StreamSplit(Split):
    """A text as parallel streams of consecutive batches: each goes on where the last one ended.

    ``ids``: int64[characters]. A batch is (tokens[streams, sequence],) with the next character at
    every step as targets; the last one of a pass may be shorter. A training pass starts at a
    random place of the text and goes round. Up to ``streams - 1`` characters are left out where
    they do not come out even; one stream reads everything.
    """

    def __init__(self, ids: Tensor, sequence_length: int) -> None:
        self.ids = ids
        self.sequence_length = sequence_length

    def __len__(self) -> int:
        return len(self.ids) - 1

    def batch_count(self, batch_size: int) -> int:
        return -(-(len(self) // self._streams(batch_size)) // self.sequence_length)

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[Batch]:
        inputs, targets = self.ids[:-1], self.ids[1:]
        if generator is not None:
            start = int(torch.randint(len(self), (), generator=generator))
            inputs, targets = inputs.roll(-start), targets.roll(-start)
        streams = self._streams(batch_size)
        kept = len(self) // streams * streams
        chunks = zip(
            inputs[:kept].view(streams, -1).split(self.sequence_length, dim=1),
            targets[:kept].view(streams, -1).split(self.sequence_length, dim=1),
            strict=True,
        )
        for tokens, following in chunks:
            yield Batch((tokens,), following, following.numel())

    def _streams(self, batch_size: int) -> int:
        """A short text has fewer streams, so that each is one sequence long or more."""
        return min(batch_size, max(1, len(self) // self.sequence_length))


class LanguageModel(NextCharacterTask):
    model = ModelOptions(cell="lstm", hidden_size=256, dropout=0.2)
    training = TrainingOptions(epochs=6, batch_size=16, lr=8e-3, schedule="one-cycle")
    options = (
        Option("sequence_length", 64, "Characters that gradients reach back.", minimum=1),
        *character_options(embedding_size=64, token_dropout=0.001),
    )
    embedded = ("python-docs",)
    data_help = "a text file in UTF-8"
    metric = "loss"
    # One stream: the whole text in one pass, so that no character lacks what stands before it.
    evaluation_batch_size = 1

    def load(self, data: str | None, seed: int) -> TaskData:
        source = self.embedded[0] if data is None else data
        text = _python_docs() if source in self.embedded else read_text(source)
        train_start = round(VALIDATION_SHARE * len(text))
        test_start = len(text) - round(TEST_SHARE * len(text))
        parts = (text[train_start:test_start], text[:train_start], text[test_start:])
        length = self.own["sequence_length"]
        if len(parts[0]) <= length or min(len(part) for part in parts) < 2:
            raise DataError(
                f"text of {source} must be longer than one training sequence of {length} "
                f"characters, got {len(text)} of which {len(parts[0])} are to train. "
                "Give a longer text or lower --sequence-length."
            )
        vocabulary = Vocabulary.build([parts[0]])
        train, validation, test = (
            StreamSplit(torch.from_numpy(vocabulary.encode(part)), length) for part in parts
        )
        unknown = int((test.ids == UNKNOWN_ID).sum())
        description = (
            f"{source}: {len(text)} characters, {len(vocabulary)} different; {len(parts[0])} to "
            f"train, the first {len(parts[1])} to validate, the last {len(parts[2])} to test "
            f"({unknown} of them unseen in training)"
        )
        decoder = NextCharacterDecoder(never=(PADDING_ID, UNKNOWN_ID))
        return TaskData(
            train, validation, test, Interface(vocabulary.front_end(), decoder), description
        )

    def forward(
        self, module: nn.Module, batch: Batch, state: State | None
    ) -> tuple[Any, State | None]:
        if state is None:
            state = cast(NextCharacterModel, module).initial_state(len(batch.targets))
        logits, *carried = module(*batch.inputs, *state)
        return logits, tuple(tensor.detach() for tensor in carried)

    def loss(self, output: Any, batch: Batch) -> Tensor:
        return F.cross_entropy(output.flatten(0, 1), batch.targets.flatten())

    def report(self, module: nn.Module, data: TaskData) -> Report:
        train, test = cast(StreamSplit, data.train), cast(StreamSplit, data.test)
        vocabulary = vocabulary_of(data.interface)
        frequencies = frequency_entropy(train.ids, test.ids[1:], len(vocabulary))
        generator = torch.Generator().manual_seed(0)
        text = sample(
            cast(NextCharacterModel, module), vocabulary, SAMPLE_PROMPT, SAMPLE_LENGTH, generator
        )
        return Report(
            scores={
                "model": per_character(self.evaluate(module, data.test)["loss"]),
                "character frequencies": per_character(frequencies),
            },
            text=text,
        )


def _python_docs() -> str:
    """The reference topics of Python's own documentation, in the order of their names."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))
