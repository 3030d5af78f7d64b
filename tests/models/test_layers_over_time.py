"""Layers and stacks of every cell against single, unpadded rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnn_edge.errors import TrainingError
from rnn_edge.models.layers import Core, read_rows
from rnn_edge.models.recurrent import core_features, recurrent_core, state_size
from rnn_edge.tasks.task import CELLS

INPUT, HIDDEN = 3, 4
LENGTHS = torch.tensor([3, 7, 1, 5])


def made(cell: str, **options: object) -> Core:
    torch.manual_seed(0)
    return recurrent_core(cell, INPUT, HIDDEN, **options).double().eval()  # type: ignore[arg-type]


def parts(state: object) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)  # type: ignore[return-value]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("num_layers", "residual"), [(1, False), (2, False), (3, True)])
def test_each_row_equals_that_row_alone(
    cell: str, bidirectional: bool, num_layers: int, residual: bool
) -> None:
    core = made(cell, bidirectional=bidirectional, num_layers=num_layers, residual=residual)
    x = torch.randn(4, 7, INPUT, dtype=torch.float64)
    directions = 1 + bidirectional
    sizes = (state_size(core), HIDDEN)[: 2 if cell.startswith("lstm") else 1]
    state = tuple(
        torch.randn(num_layers * directions, 4, size, dtype=torch.float64) for size in sizes
    )
    given = state if len(state) > 1 else state[0]
    with torch.no_grad():
        outputs, final = read_rows(core, x, LENGTHS, given)
        assert outputs.shape == (4, 7, core_features(core))
        for row, length in enumerate(LENGTHS.tolist()):
            own = tuple(part[:, row : row + 1].contiguous() for part in state)
            alone, last = core(x[row : row + 1, :length], own if len(own) > 1 else own[0])
            torch.testing.assert_close(outputs[row, :length], alone[0])
            assert not outputs[row, length:].any()
            for part, expected in zip(parts(final), parts(last), strict=True):
                torch.testing.assert_close(part[:, row], expected[:, 0])


def test_a_residual_stack_adds_what_it_is_given() -> None:
    core = made("gru", num_layers=2, residual=True)
    x = torch.randn(2, 5, INPUT, dtype=torch.float64)
    first, second = core.layers
    with torch.no_grad():
        below, _ = first(x)
        torch.testing.assert_close(core(x)[0], below + second(below)[0])


def test_the_way_back_is_the_way_forward_on_the_mirrored_row() -> None:
    core = made("lstm-peephole", bidirectional=True)
    x = torch.randn(2, 6, INPUT, dtype=torch.float64)
    with torch.no_grad():
        outputs, _ = core(x)
        core.cell.load_state_dict(core.reverse_cell.state_dict())
        mirrored, _ = core(x.flip(1))
    torch.testing.assert_close(outputs[..., HIDDEN:], mirrored[..., :HIDDEN].flip(1))


def test_dropout_acts_between_layers_while_training_only() -> None:
    core = made("lstm-layernorm", num_layers=2, dropout=0.5)
    x = torch.randn(2, 6, INPUT, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(core(x)[0], core(x)[0])
        core.train()
        assert not torch.equal(core(x)[0], core(x)[0])


def test_a_projection_of_one_unit_is_refused() -> None:
    with pytest.raises(TrainingError, match="lstm-projection must be at least 2, got 1"):
        recurrent_core("lstm-projection", 3, 1)
