"""Label every character: bases of DNA, names in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_edge.batching import Batch, SequencePairSplit
from rnn_edge.contract import TagDecoder
from rnn_edge.drawing import draw_confusion
from rnn_edge.errors import DataError
from rnn_edge.extras import import_extra
from rnn_edge.models.tagger import Tagger
from rnn_edge.tasks.characters import (
    character_arguments,
    character_deployment,
    character_options,
    split_rows,
)
from rnn_edge.tasks.classification import confusion, confusion_table
from rnn_edge.tasks.entities import OUTSIDE, Sentence, entity_parts
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
from rnn_edge.text_file import read_text
from rnn_edge.vocabulary import PADDING_ID, Vocabulary

# Places in a codon, of the strand that is given and of its reverse complement.
FRAME, REVERSE_FRAME, NO_FRAME = "123", "abc", "-"
BASES, COMPLEMENTS = "ACGT", str.maketrans("ACGT", "TGCA")
START, STOPS = "ATG", ("TAA", "TAG", "TGA")
DNA_SEQUENCES, SHORTEST_DNA, LONGEST_DNA = 3000, 12, 60
# The share of sequences that get a start codon on purpose; others have one by chance.
PLANTED = 0.6


class Tagging(Task):
    model = ModelOptions(cell="lstm", hidden_size=64, bidirectional=True, dropout=0.1)
    training = TrainingOptions(epochs=12, batch_size=32, lr=1e-2, schedule="one-cycle")
    recipes: ClassVar = {
        "entities": {
            **{"epochs": 8, "dropout": 0.4, "lr": 5e-3, "crf": True},
            **{"token_dropout": 0.05, "embedding_size": 64},
        }
    }
    options = (
        Option(
            "strands", "one", "Of dna: label frames of one strand, or of both.", ("one", "both")
        ),
        Option("crf", False, "Choose the most probable row of labels by a linear chain."),
        *character_options(embedding_size=32, token_dropout=0.0),
    )
    embedded = ("dna", "entities")
    data_help = "a CoNLL file: a token a line, its label in the last column, blank lines between"
    metric = "accuracy"
    higher_is_better = True

    def load(self, data: str | None, seed: int) -> TaskData:
        source = data or self.embedded[0]
        chance = np.random.default_rng(seed)
        if source != "dna" and self.own["strands"] != "one":
            raise DataError("strands must be left out for anything but dna. Leave it out.")
        if source == "dna":
            both = self.own["strands"] == "both"
            sentences = [dna(chance, both) for _ in range(DNA_SEQUENCES)]
            parts = split_rows(sentences, chance, source)
        elif source == "entities":
            parts = entity_parts(chance)
            sentences = [sentence for part in parts for sentence in part]
        else:
            sentences = conll(read_text(source), source)
            parts = split_rows(sentences, chance, source)
        described = f"{source}: {len(sentences)} rows of up to {max(len(s[0]) for s in sentences)}"
        labels = label_order(label for _, tags in sentences for label in tags)
        vocabulary = Vocabulary.build(text for text, _ in parts[0])
        train, validation, test = (_tagged(part, vocabulary, labels) for part in parts)
        description = (
            f"{described} characters, labels {', '.join(labels)}; {len(train)} to train, "
            f"{len(validation)} to validate, {len(test)} to test"
        )
        facts = {"longest": int(train.lengths.max())}
        interface = Interface(vocabulary.front_end(), TagDecoder(labels), facts)
        return TaskData(train, validation, test, interface, description)

    def build(self, options: ModelOptions, interface: Interface) -> nn.Module:
        arguments = character_arguments(self.own, options, interface)
        return Tagger(labels=len(_labels(interface)), crf=self.own["crf"], **arguments)

    def forward(
        self, module: nn.Module, batch: Batch, state: State | None
    ) -> tuple[Any, State | None]:
        """Logits with the chain's log-likelihood of the truth, or None; tags where not training."""
        tagger = cast(Tagger, module)
        if tagger.training:
            logits, tags = tagger.logits(*batch.inputs), None
        else:
            tags, logits = tagger(*batch.inputs)
        likelihood = None
        if tagger.chain is not None:
            chain = import_extra("torchcrf").CRF(logits.shape[2], batch_first=True)
            for name, parameter in tagger.chain.named_parameters():
                chain.register_parameter(name, parameter)
            mask = valid_steps(batch)
            likelihood = chain(logits, batch.targets, mask, reduction="sum") / batch.count
        return (logits, likelihood, tags), None

    def loss(self, output: Any, batch: Batch) -> Tensor:
        logits, likelihood, _ = output
        if likelihood is not None:
            return -likelihood
        valid = valid_steps(batch)
        return F.cross_entropy(logits[valid], batch.targets[valid])

    def measure(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        right = (output[2] == batch.targets)[valid_steps(batch)]
        return {"accuracy": right.float().mean()}

    def report(self, module: nn.Module, data: TaskData) -> Report:
        labels = _labels(data.interface)
        true, predicted = self._true_and_predicted(module, data)
        train = cast(SequencePairSplit, data.train)
        frequent = int(torch.cat(train.target_sequences).bincount().argmax())
        always = [np.full_like(row, frequent) for row in true]
        return Report(
            {
                "model": scores(true, predicted, labels),
                f"always {labels[frequent]}": scores(true, always, labels),
            },
            (confusion_table(np.concatenate(true), np.concatenate(predicted), labels),),
        )

    def plot(self, module: nn.Module, data: TaskData, folder: Path) -> None:
        labels = _labels(data.interface)
        true, predicted = map(np.concatenate, self._true_and_predicted(module, data))
        counts = confusion(true, predicted, len(labels))
        draw_confusion(folder / "confusion.png", counts.tolist(), labels)

    def _true_and_predicted(
        self, module: nn.Module, data: TaskData
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """int64[length] of every test row: places among the labels."""
        true, predicted = [], []
        for (_, _, tags), batch in self.predictions(module, data.test):
            for row, length in enumerate(batch.inputs[1].tolist()):
                true.append(batch.targets[row, :length].numpy())
                predicted.append(tags[row, :length].numpy())
        return true, predicted

    def deployment(self, module: nn.Module, interface: Interface) -> Deployment:
        outputs = {
            "tags": "the label chosen for each character, as a place among the labels",
            "logits": "one number a character and label",
        }
        return character_deployment(interface, outputs)


# --- Data -------------------------------------------------------------------------------------


def dna(chance: np.random.Generator, both: bool = False) -> Sentence:
    """A random sequence of bases with its labels, which gene_labels decides."""
    length = int(chance.integers(SHORTEST_DNA, LONGEST_DNA + 1))
    bases = "".join(chance.choice(list(BASES), size=length))
    if chance.random() < PLANTED:
        place = int(chance.integers(0, length - len(START)))
        bases = bases[:place] + START + bases[place + len(START) :]
    return bases, frame_labels(bases, both)


def frame_labels(bases: str, both: bool = False) -> list[str]:
    """The place in its codon, 1, 2 or 3, of every base that is read, - of the others.

    Reading begins at a start codon, ATG, and goes on by codons to a stop codon, that included, or
    to the end; then the next start codon is sought. With ``both`` strands, a, b and c stand where
    the reverse complement is read and this strand is not.
    """
    labels = _read(bases, FRAME)
    if both:
        back = _read(bases.translate(COMPLEMENTS)[::-1], REVERSE_FRAME)[::-1]
        pairs = zip(labels, back, strict=True)
        labels = [other if label == NO_FRAME else label for label, other in pairs]
    return labels


def _read(bases: str, frame: str) -> list[str]:
    labels = [NO_FRAME] * len(bases)
    place = bases.find(START)
    while place >= 0:
        while place < len(bases):
            codon = bases[place : place + 3]
            labels[place : place + 3] = frame[: len(codon)]
            place += 3
            if codon in STOPS:
                break
        place = bases.find(START, place)
    return labels


def conll(text: str, source: str) -> list[Sentence]:
    """Columns of tokens and, last, labels. Tokens of several characters stand apart by a space.

    Every character has its token's label, or B- on the first and I- on the others, and a space
    within a span belongs to it. Raises DataError naming the line.
    """
    sentences: list[Sentence] = []
    tokens: list[tuple[str, str]] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        fields = line.split()
        if fields and len(fields) < 2:
            raise DataError(
                f"{source} must hold a token and its label in every line, got {line.strip()!r} in "
                f"line {number}. Add the label."
            )
        if fields and fields[0] != "-DOCSTART-":
            tokens.append((fields[0], fields[-1]))
        elif tokens:
            sentences.append(_joined(tokens))
            tokens = []
    if len(sentences) < 3:
        raise DataError(
            f"{source} must hold 3 sentences or more, with blank lines between, got "
            f"{len(sentences)}. Add sentences."
        )
    return sentences


def _joined(tokens: Sequence[tuple[str, str]]) -> Sentence:
    space = " " if any(len(token) > 1 for token, _ in tokens) else ""
    text, labels = "", []
    for token, label in tokens:
        inside = f"I-{label[2:]}" if label.startswith(("B-", "I-")) else label
        if text and space:
            text += space
            labels.append(inside if label.startswith("I-") else OUTSIDE)
        text += token
        labels += [label, *[inside] * (len(token) - 1)]
    return text, labels


def label_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Outside first, then by kind, B- before I-."""
    return tuple(
        sorted(set(labels), key=lambda name: (name not in (OUTSIDE, NO_FRAME), name[2:], name))
    )


def _tagged(
    sentences: list[Sentence], vocabulary: Vocabulary, labels: tuple[str, ...]
) -> SequencePairSplit:
    places = {label: place for place, label in enumerate(labels)}
    return SequencePairSplit(
        [torch.from_numpy(vocabulary.encode(text)) for text, _ in sentences],
        [torch.tensor([places[tag] for tag in tags]) for _, tags in sentences],
        PADDING_ID,
    )


# --- Measures ---------------------------------------------------------------------------------


def valid_steps(batch: Batch) -> Tensor:
    """bool[batch, sequence]: what is no padding."""
    return torch.arange(batch.targets.shape[1]) < batch.inputs[1].unsqueeze(1)


def scores(
    true: list[np.ndarray], predicted: list[np.ndarray], labels: tuple[str, ...]
) -> dict[str, float]:
    """Accuracy by character, rows wholly right, and F1 of spans where labels are B-, I- and O."""
    right = np.concatenate(true) == np.concatenate(predicted)
    rows = [np.array_equal(*pair) for pair in zip(true, predicted, strict=True)]
    result = {"accuracy": float(right.mean()), "rows right": float(np.mean(rows))}
    if any(label.startswith("B-") for label in labels):
        named = [[[labels[tag] for tag in row] for row in rows] for rows in (true, predicted)]
        f1 = import_extra("seqeval.metrics").f1_score(*named, zero_division=0)
        result["span F1"] = float(f1)
    return result


def _labels(interface: Interface) -> tuple[str, ...]:
    return cast(TagDecoder, interface.decoder).labels
