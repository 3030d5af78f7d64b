"""What forward() may return: containers of the user's own are opened, tensors named by place."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rnn_edge.capture.outputs import flatten_outputs


@dataclass
class Answer:
    logits: Tensor
    states: tuple[Tensor, Tensor]
    loss: Tensor | None = None


class ModelOutput(OrderedDict[str, object]):
    """As libraries of pretrained models return it."""


class Pair(NamedTuple):
    first: Answer
    second: Tensor


A, B, C = torch.zeros(1), torch.zeros(2), torch.zeros(3)


def test_dataclass_has_its_fields_and_none_is_left_out() -> None:
    assert flatten_outputs(Answer(A, (B, C))) == {"logits": A, "states_0": B, "states_1": C}


def test_mapping_of_another_class_has_its_keys() -> None:
    assert flatten_outputs(ModelOutput(logits=A, hidden=[B, C])) == {
        "logits": A,
        "hidden_0": B,
        "hidden_1": C,
    }


def test_containers_may_be_nested_in_each_other() -> None:
    names = list(flatten_outputs((Pair(Answer(A, (B, C)), A), {"x": B})))
    assert names == [
        "output_0_first_logits",
        "output_0_first_states_0",
        "output_0_first_states_1",
        "output_0_second",
        "output_1_x",
    ]
