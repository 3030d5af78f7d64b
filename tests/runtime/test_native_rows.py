"""Rows that run together through generated C share its weights, and none changes another."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge import StreamPool, StreamSession
from rnn_edge.bundle import Bundle
from rnn_edge.c99 import library
from rnn_edge.errors import InputError

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler"
)


class Writer(nn.Module):
    """Products of whole tiles and of parts of one, an embedding and a loop over states."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.table = nn.Embedding(20, 33)
        self.first = nn.LSTM(33, 48, batch_first=True)
        self.second = nn.GRU(48, 40, batch_first=True)
        self.head = nn.Linear(40, 90)

    def forward(self, tokens: Tensor) -> Tensor:
        y = self.second(self.first(self.table(tokens))[0])[0]
        logits: Tensor = self.head(torch.tanh(y))
        return logits


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(library.CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    tokens = torch.randint(20, (2, 7))
    return rnn_edge.export(
        Writer().eval(), (tokens,), tmp_path_factory.mktemp("rows") / "writer",
        axes=[("batch", "sequence")], bounds={"tokens": (0, 19)}, stream=True,
    )  # fmt: skip


@pytest.mark.parametrize("rows", [2, 7, 70])
def test_rows_are_eager_torchs_and_those_of_each_alone(bundle: Bundle, rows: int) -> None:
    tokens = torch.randint(20, (rows, 11), generator=torch.Generator().manual_seed(rows))
    with torch.no_grad():
        right = Writer().eval()(tokens).numpy()
    together = StreamSession(bundle, engine="c", batch=rows)
    parts = [together.push(part.numpy())[0] for part in tokens.split([1, 4, 6], 1)]
    found = np.concatenate(parts, 1)
    np.testing.assert_allclose(found, right, atol=3e-6)
    for row in (0, 3 % rows, rows - 1):
        alone = StreamSession(bundle, engine="c")
        (answer,) = alone.push(tokens[row : row + 1].numpy())
        np.testing.assert_array_equal(answer[0], found[row])


def test_streams_of_a_pool_are_those_alone(bundle: Bundle) -> None:
    random = np.random.default_rng(3)
    pool = StreamPool(bundle, engine="c")
    streams = [pool.open() for _ in range(6)]
    alone = {stream: StreamSession(bundle, engine="c") for stream in streams}
    for count in (6, 1, 4, 5):
        chunks = {stream: random.integers(0, 20, (1, 2)) for stream in streams[:count]}
        for stream, (answer,) in pool.push_many(chunks).items():
            np.testing.assert_array_equal(answer, alone[stream].push(chunks[stream])[0])


def test_a_row_that_is_refused_moves_no_state(bundle: Bundle) -> None:
    stream, other = (StreamSession(bundle, engine="c", batch=5) for _ in range(2))
    tokens = np.arange(5)[:, None]
    stream.push(tokens)
    other.push(tokens)
    wrong = tokens.copy()
    wrong[4] = 20
    with pytest.raises(InputError, match="at most 19"):
        stream.push(wrong)
    # What no check has seen, the C itself refuses.
    plan = stream._plan
    plan._inputs[0].memory.view(np.int64)[4] = 20
    assert plan.run() == 1
    np.testing.assert_array_equal(stream.push(tokens)[0], other.push(tokens)[0])
