import torch

from rnn_edge.models.token_dropout import TokenDropout


def test_evaluation_leaves_tokens_alone():
    tokens = torch.arange(100)
    assert torch.equal(TokenDropout(0.9, unknown=1).eval()(tokens), tokens)


def test_training_replaces_about_the_given_share_by_unknown():
    torch.manual_seed(0)
    dropped = TokenDropout(0.25, unknown=1).train()(torch.full((100, 100), 7))
    assert set(dropped.unique().tolist()) == {1, 7}
    assert 0.23 < (dropped == 1).float().mean() < 0.27
