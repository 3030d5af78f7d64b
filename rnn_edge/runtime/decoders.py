"""The graph's first output for one sample -> what a person reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_edge.contract import (
    CtcDecoder,
    Decoder,
    GraphContract,
    LabelDecoder,
    NextCharacterDecoder,
    TagDecoder,
    TensorSpec,
    TextDecoder,
    ValueDecoder,
)
from rnn_edge.errors import ContractError
from rnn_edge.runtime.ctc import beam_search, greedy, likeliest_frames

# The output of a model that writes: of each place in its first output, given those before it.
LOG_PROBABILITIES = "log_probabilities"


@dataclass(frozen=True)
class LabelAnswer:
    """Probabilities of ``labels``: float64[labels], or [time, labels] for an answer a step."""

    labels: tuple[str, ...]
    probabilities: np.ndarray

    @property
    def has_steps(self) -> bool:
        """Whether there is an answer for every step, rather than one for the whole."""
        return self.probabilities.ndim == 2

    def rows(self) -> list[tuple[str, float]]:
        """The most likely label and its probability, for every step; one where there is no time."""
        steps = np.atleast_2d(self.probabilities)
        return [(self.labels[int(row.argmax())], float(row.max())) for row in steps]

    def to_dict(self) -> dict[str, Any]:
        steps = [
            {
                "label": label,
                "probability": _plain(probability),
                "probabilities": dict(zip(self.labels, map(_plain, row), strict=True)),
            }
            for (label, probability), row in zip(
                self.rows(), np.atleast_2d(self.probabilities).tolist(), strict=True
            )
        ]
        return {"steps": steps} if self.has_steps else steps[0]


@dataclass(frozen=True)
class ValueAnswer:
    """Numbers in the units of ``columns``: [columns], or [time, columns] for an answer a step."""

    columns: tuple[str, ...]
    values: np.ndarray

    @property
    def has_steps(self) -> bool:
        """Whether there is an answer for every step, rather than one for the whole."""
        return self.values.ndim == 2

    def rows(self) -> list[tuple[float, ...]]:
        """The numbers of every step; one row where there is no time."""
        return [tuple(row) for row in np.atleast_2d(self.values).tolist()]

    def to_dict(self) -> dict[str, Any]:
        steps = [dict(zip(self.columns, map(_plain, row), strict=True)) for row in self.rows()]
        return {"steps": steps} if self.has_steps else {"values": steps[0]}


@dataclass(frozen=True)
class TagAnswer:
    """The label of every step of ``text``."""

    labels: tuple[str, ...]
    text: str

    @property
    def has_steps(self) -> bool:
        """Never: an answer is for the whole text."""
        return False

    @property
    def marks_spans(self) -> bool:
        """Whether spans are begun by B- and gone on with by I-."""
        return all(label == "O" or label.startswith(("B-", "I-")) for label in self.labels)

    @property
    def columns(self) -> tuple[str, ...]:
        return ("span", "kind", "from", "to") if self.marks_spans else ("text over labels",)

    def rows(self) -> list[tuple[str | int, ...]]:
        """Every span with its kind, first and last character; else the text and its labels."""
        if self.marks_spans:
            spans = TagDecoder.spans(self.labels)
            found = [(self.text[first:end], kind, first + 1, end) for kind, first, end in spans]
            return [*found] or [("none", "", "", "")]
        space = "" if all(len(label) == 1 for label in self.labels) else " "
        return [(space.join(self.text),), (space.join(self.labels),)]

    def to_dict(self) -> dict[str, Any]:
        names = ("span", "kind", "from", "to")
        spans = [row for row in self.rows() if len(row) == len(names) and row[1]]
        return {
            "labels": list(self.labels),
            "spans": [dict(zip(names, row, strict=True)) for row in spans],
        }


@dataclass(frozen=True)
class TextAnswer:
    """What was said or written: texts, likeliest first, with the logarithms of their probabilities
    where these are known.

    ``places`` are the steps of the input at which the characters of the first text begin; none
    where that is not known.
    """

    texts: tuple[str, ...]
    log_probabilities: tuple[float, ...] = ()
    places: tuple[int, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return ("text", "log probability") if self.log_probabilities else ("text",)

    @property
    def text(self) -> str:
        return self.texts[0]

    @property
    def has_steps(self) -> bool:
        """Never: an answer is for the whole."""
        return False

    def rows(self) -> list[tuple[str | float, ...]]:
        """Every text with its log-probability, where that is known."""
        if not self.log_probabilities:
            return [(text,) for text in self.texts]
        return list(zip(self.texts, self.log_probabilities, strict=True))

    def to_dict(self) -> dict[str, Any]:
        if not self.log_probabilities:
            return {"text": self.text}
        pairs = zip(self.texts, map(_plain, self.log_probabilities), strict=True)
        found = [{"text": text, "log_probability": chance} for text, chance in pairs]
        return {**found[0], "others": found[1:]}


Answer = LabelAnswer | ValueAnswer | TagAnswer | TextAnswer


def decode(
    decoder: Decoder | None,
    output: np.ndarray,
    name: str = "output",
    text: str = "",
    beam: int = 1,
    chances: np.ndarray | None = None,
) -> Answer:
    """Read ``output``, one sample's part of the graph's first output, [size] or [time, size].

    Tags are integers, [time], of the characters of ``text``. With a ``beam`` above 1, a decoder of
    text looks for as many texts, and finds likelier ones. ``chances`` [time] are log-probabilities
    of the places of a text; those up to its end, that included, add up to the text's own.
    Without a decoder the numbers stand as they are, named after the output. Raises ContractError
    when the decoder does not fit.
    """
    if isinstance(decoder, NextCharacterDecoder):
        raise ContractError("a next-character model must be sampled from. Use generate().")
    if decoder is None:
        flat = output.reshape(1) if output.ndim == 0 else output
        columns = tuple(f"{name}[{place}]" for place in range(flat.shape[-1]))
        return ValueAnswer(columns, flat.reshape(-1, flat.shape[-1]) if flat.ndim > 2 else flat)
    if isinstance(decoder, TagDecoder):
        return _tags(decoder, output, name, text)
    if isinstance(decoder, TextDecoder):
        return _text(decoder, output, name, chances)
    if isinstance(decoder, CtcDecoder):
        return _transcript(decoder, output, name, beam)
    names = decoder.labels if isinstance(decoder, LabelDecoder) else decoder.columns
    if isinstance(decoder, ValueDecoder) and len(names) == 1 and output.shape[-1:] != (1,):
        output = output[..., np.newaxis]
    if output.ndim not in (1, 2) or output.shape[-1] != len(names):
        raise ContractError(
            f"{name} must have {len(names)} numbers a sample, one for each of its decoder's names, "
            f"got shape {list(output.shape)}. Export the model again."
        )
    if isinstance(decoder, LabelDecoder):
        return LabelAnswer(names, softmax(output))
    return ValueAnswer(names, output)


def _tags(decoder: TagDecoder, output: np.ndarray, name: str, text: str) -> TagAnswer:
    size = len(decoder.labels)
    if output.shape != (len(text),) or not np.all((output >= 0) & (output < size)):
        raise ContractError(
            f"{name} must hold one place among {size} labels for each of {len(text)} characters, "
            f"got shape {list(output.shape)}. Export the model again."
        )
    return TagAnswer(tuple(decoder.labels[int(tag)] for tag in output), text)


def _transcript(decoder: CtcDecoder, output: np.ndarray, name: str, beam: int) -> TextAnswer:
    labels, blank = decoder.labels, decoder.blank
    if output.ndim != 2 or output.shape[1] != len(labels):
        raise ContractError(
            f"{name} must hold {len(labels)} numbers a frame, one for each label, "
            f"got shape {list(output.shape)}. Export the model again."
        )
    found = beam_search(output, blank, beam) if beam > 1 else [greedy(output, blank)]
    texts = tuple("".join(labels[label] for label in each.labels) for each in found)
    begun = likeliest_frames(output, blank) if beam == 1 else []
    places = tuple(frame * decoder.stride for _, frame in begun)
    return TextAnswer(texts, tuple(each.log_probability for each in found), places)


def find_chances(decoder: Decoder | None, graph: GraphContract) -> TensorSpec | None:
    """The output of ``graph`` that ``decode`` takes as ``chances``; None where there is none."""
    first = graph.outputs[0]
    found = (
        spec
        for spec in graph.outputs[1:]
        if spec.name == LOG_PROBABILITIES
        and spec.dims == first.dims
        and spec.dtype.startswith("float")
    )
    return next(found, None) if isinstance(decoder, TextDecoder) else None


def _text(
    decoder: TextDecoder, output: np.ndarray, name: str, chances: np.ndarray | None
) -> TextAnswer:
    size = len(decoder.vocabulary)
    if output.ndim != 1 or not np.all((output >= 0) & (output < size)):
        raise ContractError(
            f"{name} must hold places among {size} characters, one a step, "
            f"got shape {list(output.shape)}. Export the model again."
        )
    ends = np.flatnonzero(output == decoder.end)
    size = int(ends[0]) if len(ends) else len(output)
    text = "".join(decoder.vocabulary[int(place)] for place in output[:size])
    if chances is None:
        return TextAnswer((text,))
    return TextAnswer((text,), (float(chances[: size + 1].sum(dtype=np.float64)),))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, in float64."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    result: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return result


def _plain(value: float) -> float | None:
    """JSON has no NaN and no infinity: None stands for them."""
    return value if math.isfinite(value) else None
