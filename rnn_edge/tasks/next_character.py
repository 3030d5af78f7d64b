"""What tasks have in common whose models tell the next character at every step."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from rnn_edge.contract import CharacterFrontEnd
from rnn_edge.models.language_model import LanguageModel as RnnOrGruModel
from rnn_edge.models.language_model import LstmLanguageModel, NextCharacterModel
from rnn_edge.tasks.characters import character_arguments
from rnn_edge.tasks.task import Deployment, Interface, ModelOptions, Task
from rnn_edge.vocabulary import PADDING_ID, UNKNOWN_ID, Vocabulary

SAMPLE_TEMPERATURE = 0.8


class NextCharacterTask(Task):
    """Abstract: a NextCharacterModel, and what its export needs."""

    causal = True

    def build(self, options: ModelOptions, interface: Interface) -> nn.Module:
        kind = LstmLanguageModel if options.cell.startswith("lstm") else RnnOrGruModel
        return kind(**character_arguments(self.own, options, interface))

    def deployment(self, module: nn.Module, interface: Interface) -> Deployment:
        model = cast(NextCharacterModel, module)
        last = len(vocabulary_of(interface)) - 1
        states = {f"{name}_0": f"{name}_n" for name in model.states}
        state_axes: list[tuple[str | None, ...]] = [(None, "batch", None)] * len(states)
        return Deployment(
            args=(torch.arange(24).reshape(3, 8) % (last + 1), *model.initial_state(3)),
            axes=[("batch", "sequence"), *state_axes],
            output_names=["logits", *states.values()],
            front_end=interface.front_end,
            decoder=interface.decoder,
            states=states,
            bounds={"tokens": (0, last)},
            meanings={
                "tokens": "ids of the characters",
                "logits": "one number a character of the vocabulary, for the character that "
                "follows each step; softmax gives probabilities",
            },
        )


def frequency_entropy(train: Tensor, targets: Tensor, size: int) -> float:
    """Nats per character of ``targets`` under the character counts of ``train``, each plus one."""
    counts = train.bincount(minlength=size).double() + 1
    counts[PADDING_ID] = 0  # stands in no text
    return float(-(counts / counts.sum())[targets].log().mean())


def sample(
    module: NextCharacterModel,
    vocabulary: Vocabulary,
    prompt: str,
    length: int,
    generator: torch.Generator,
    temperature: float = SAMPLE_TEMPERATURE,
) -> str:
    """``length`` characters that ``module`` writes after ``prompt`` (one character or more)."""
    module.eval()
    tokens = torch.from_numpy(vocabulary.encode(prompt)).unsqueeze(0)
    state = module.initial_state(1)
    written: list[int] = []
    with torch.inference_mode():
        for _ in range(length):
            logits, *state = module(tokens, *state)
            scores = logits[0, -1] / temperature
            scores[[PADDING_ID, UNKNOWN_ID]] = float("-inf")
            tokens = torch.multinomial(scores.softmax(dim=0), 1, generator=generator).unsqueeze(0)
            written.append(int(tokens))
    return vocabulary.decode(written)


def vocabulary_of(interface: Interface) -> Vocabulary:
    return Vocabulary(cast(CharacterFrontEnd, interface.front_end).vocabulary)


def per_character(nats: float) -> dict[str, float]:
    return {"nats per character": nats, "bits per character": nats / math.log(2)}
