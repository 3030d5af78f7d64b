"""The language models against cells stepped one character at a time."""

import inspect

import pytest
import torch

from rnn_edge.models.language_model import LanguageModel, LstmLanguageModel

SIZES = {"embedding_size": 4, "hidden_size": 5, "num_layers": 2}


def gru() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(7, cell="gru", **SIZES).eval()


def lstm() -> LstmLanguageModel:
    torch.manual_seed(0)
    return LstmLanguageModel(7, cell="lstm", **SIZES).eval()


@pytest.mark.parametrize("build", [gru, lstm])
def test_chunks_with_carried_state_give_what_the_whole_sequence_gives(build):
    model = build()
    tokens = torch.randint(0, 7, (3, 10))
    state = tuple(torch.randn_like(zero) for zero in model.initial_state(3))
    with torch.no_grad():
        whole = model(tokens, *state)
        pieces = []
        for chunk in tokens.split([1, 4, 5], dim=1):
            logits, *state = model(chunk, *state)
            pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole[0])
    for carried, final in zip(state, whole[1:], strict=True):
        torch.testing.assert_close(carried, final)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_the_plain_cell_follows_its_formula(nonlinearity):
    torch.manual_seed(0)
    model = LanguageModel(7, cell=f"rnn-{nonlinearity}", embedding_size=4, hidden_size=5).eval()
    tokens, state = torch.randint(0, 7, (1, 6)), torch.randn(1, 1, 5)
    core, activation = model.core, getattr(torch, nonlinearity)
    h, expected = state[0, 0], []
    with torch.no_grad():
        for token in tokens[0]:
            x = model.embedding.weight[token]
            h = activation(
                core.weight_ih_l0 @ x + core.bias_ih_l0 + core.weight_hh_l0 @ h + core.bias_hh_l0
            )
            expected.append(model.head.weight @ h + model.head.bias)
        logits, h_n = model(tokens, state)
    torch.testing.assert_close(logits[0], torch.stack(expected))
    torch.testing.assert_close(h_n[0, 0], h)


def test_only_the_lstm_takes_a_cell_state():
    assert list(inspect.signature(gru().forward).parameters) == ["tokens", "h_0"]
    assert list(inspect.signature(lstm().forward).parameters) == ["tokens", "h_0", "c_0"]


def test_the_initial_state_is_zero_and_has_one_row_a_stream():
    state = lstm().initial_state(3)
    assert [tuple(tensor.shape) for tensor in state] == [(2, 3, 5), (2, 3, 5)]
    assert all(tensor.abs().sum() == 0 for tensor in state)
