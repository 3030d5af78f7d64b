"""The forecaster gives raw values, and what stands behind a row's length changes nothing."""

from __future__ import annotations

import pytest
import torch

from rnn_edge.models.forecaster import Forecaster

CELLS = ("rnn-tanh", "rnn-relu", "lstm", "gru")


@pytest.fixture(params=CELLS)
def forecaster(request: pytest.FixtureRequest) -> Forecaster:
    torch.manual_seed(0)
    module = Forecaster([5.0], [2.0], [0.5], cell=request.param, hidden_size=6, num_layers=2)
    torch.nn.init.normal_(module.head.weight)
    return module.eval()


def test_padding_and_neighbours_change_nothing(forecaster: Forecaster) -> None:
    values, lengths = torch.randn(3, 9, 1), torch.tensor([4, 9, 1])
    together = forecaster(values, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = forecaster(values[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-6, atol=1e-6)


def test_values_are_read_and_given_in_raw_units() -> None:
    scaled = Forecaster([5.0], [2.0], [2.0], hidden_size=6)
    torch.nn.init.normal_(scaled.head.weight)
    plain = Forecaster([0.0], [1.0], [1.0], hidden_size=6)
    weights = dict(scaled.named_parameters())
    plain.load_state_dict(plain.state_dict() | weights)
    values, lengths = torch.randn(2, 5, 1), torch.tensor([5, 3])
    torch.testing.assert_close(
        scaled(5 + 2 * values, lengths), 5 + 2 * plain(values, lengths), rtol=1e-5, atol=1e-5
    )


def test_what_the_core_reads_is_level_and_change() -> None:
    seen = []
    module = Forecaster([1.0], [2.0], [4.0], cell="gru")
    module.core.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].data))
    module(torch.tensor([[[1.0], [3.0], [11.0]]]), torch.tensor([3]))
    assert seen[0].tolist() == [[0, 0], [1, 0.5], [5, 2]]


def test_an_untrained_forecaster_repeats_the_last_valid_value() -> None:
    values = torch.arange(8.0).view(2, 4, 1)
    forecast = Forecaster([1.0], [3.0], [1.0])(values, torch.tensor([2, 4]))
    assert forecast.flatten().tolist() == [1, 7]
