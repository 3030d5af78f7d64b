"""What tasks have in common whose models read characters: options, arguments, deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

import torch

from rnn_edge.contract import AxisLimits, CharacterFrontEnd
from rnn_edge.tasks.task import Deployment, Interface, ModelOptions, Option


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
