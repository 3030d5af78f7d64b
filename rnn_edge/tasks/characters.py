"""What tasks have in common whose models read characters: options, arguments, deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar, cast

import numpy as np
import torch

from rnn_edge.contract import AxisLimits, CharacterFrontEnd
from rnn_edge.errors import DataError
from rnn_edge.tasks.task import Deployment, Interface, ModelOptions, Option

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.05
Answer = TypeVar("Answer")


def split_rows(
    rows: Sequence[tuple[str, Answer]], chance: np.random.Generator, source: str
) -> list[list[tuple[str, Answer]]]:
    """Random parts of texts with their answers, for training, validation and test.

    The same text never stands in two. Raises DataError where there are fewer than 3.
    """
    distinct = list({text: (text, answer) for text, answer in rows}.values())
    order = chance.permutation(len(distinct))
    tested = max(1, round(TEST_SHARE * len(distinct)))
    held = tested + max(1, round(VALIDATION_SHARE * len(distinct)))
    if len(distinct) <= held:
        raise DataError(
            f"{source} must hold 3 different rows or more, got {len(distinct)}. Add data."
        )
    parts = (order[held:], order[tested:held], order[:tested])
    return [[distinct[row] for row in part] for part in parts]


def character_options(embedding_size: int, token_dropout: float) -> tuple[Option, ...]:
    """The options of a task's own that ``character_arguments`` reads, with their defaults."""
    return (
        Option(
            "embedding_size",
            embedding_size,
            "Size of the vector that stands for a character.",
            minimum=1,
        ),
        Option(
            "token_dropout",
            token_dropout,
            "Share of characters hidden while training.",
            minimum=0,
            below=1,
        ),
    )


def character_arguments(
    own: Mapping[str, Any], options: ModelOptions, interface: Interface
) -> dict[str, Any]:
    """What CharacterModel takes, by name; ``own`` are the values of the task's own options."""
    front_end = cast(CharacterFrontEnd, interface.front_end)
    return {
        "vocabulary_size": len(front_end.vocabulary),
        "embedding_size": own["embedding_size"],
        "token_dropout": own["token_dropout"],
        "unknown": front_end.unknown,
        **asdict(options),
    }


def character_deployment(interface: Interface, outputs: Mapping[str, str]) -> Deployment:
    """That of a module that takes tokens and their lengths; ``outputs`` are names and meanings.

    ``interface.facts["longest"]`` is the longest row of the training part.
    """
    front_end = cast(CharacterFrontEnd, interface.front_end)
    last = len(front_end.vocabulary) - 1
    return Deployment(
        args=(torch.arange(24).reshape(3, 8) % (last + 1), torch.tensor([5, 8, 2])),
        axes=[("batch", "sequence"), ("batch",)],
        output_names=[*outputs],
        front_end=front_end,
        decoder=interface.decoder,
        limits={"sequence": AxisLimits(trained_maximum=interface.facts["longest"])},
        bounds={"tokens": (0, last)},
        meanings={
            "tokens": "ids of the characters, rows filled up with padding",
            "lengths": "number of characters in each row, at least 1",
            **outputs,
        },
    )
