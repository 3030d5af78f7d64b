"""What is set on a module is found, and put back."""

from __future__ import annotations

import pytest
from torch import nn

from rnn_edge.capture.attributes import watching_attributes


def test_attributes_are_put_back_after_an_exception() -> None:
    module = nn.Linear(1, 1)

    def change_and_stop() -> None:
        module.note = "new"
        module.in_features = 7
        raise ValueError("stop")

    watching = watching_attributes(module)
    changed = watching.__enter__()
    with pytest.raises(ValueError, match="stop") as caught:
        change_and_stop()
    watching.__exit__(ValueError, caught.value, None)
    assert changed == ["in_features", "note"]
    assert module.in_features == 1
    assert not hasattr(module, "note")
