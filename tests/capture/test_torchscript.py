"""TorchScript, a part of a module or all of it, exports as the Python that it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnn_edge
from rnn_edge.errors import ExportError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
F, H = 3, 4


class WrittenLayer(nn.Module):
    """A loop over steps, a branch on an option, a list that grows."""

    def __init__(self, residual: bool) -> None:
        super().__init__()
        self.fc, self.residual = nn.Linear(F + H, H), residual
        self.scale = nn.Parameter(torch.full((H,), 0.7))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        outputs: list[Tensor] = []
        for step in x.unbind(1):
            new = torch.tanh(self.fc(torch.cat([step, h], dim=-1))) * self.scale
            h = new + h if self.residual and h.dim() == 2 else new
            outputs += [h]
        return torch.stack(outputs, dim=1), h


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([torch.jit.script(WrittenLayer(True))])
        self.head = torch.jit.trace(nn.Sequential(nn.Linear(H, 2), nn.ReLU()), torch.ones(2, H))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, h = self.layers[0](x, x.new_zeros(x.size(0), H))
        return self.head(y), h


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.core = nn.Embedding(9, F), nn.LSTM(F, H, 2, bidirectional=True)
        self.fc = nn.Linear(2 * H, 5)

    def forward(self, words: Tensor, scale: float = 0.5) -> Tensor:
        y, _ = self.core(self.embedding(words.t()))
        return self.fc(y).transpose(0, 1) * scale


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return x * self.count


def test_scripted_and_traced_parts_equal_themselves(tmp_path: Path) -> None:
    module = Scripted().eval()
    bundle = rnn_edge.export(
        module, torch.randn(2, 6, F), tmp_path / "bundle", axes=[("batch", "time", None)]
    )
    session = rnn_edge.Session(bundle)
    for batch, steps in ((3, 11), (1, 1)):
        x = torch.randn(batch, steps, F)
        with torch.no_grad():
            expected = module(x)
        for found, tensor in zip(session.run(x.numpy()), expected, strict=True):
            np.testing.assert_allclose(found, tensor.numpy(), atol=1e-6)
    assert isinstance(module.head, torch.jit.ScriptModule)


def test_a_file_of_torchscript_keeps_names_and_layers(tmp_path: Path) -> None:
    torch.jit.script(Tagger().eval()).save(str(tmp_path / "tagger.pt"))
    module = torch.jit.load(str(tmp_path / "tagger.pt"))
    words = torch.randint(9, (2, 6))
    bundle = rnn_edge.export(module, words, tmp_path / "bundle", axes=[("batch", "words")])
    assert [spec.name for spec in bundle.graph().inputs] == ["words"]
    assert rnn_edge.verify(bundle, module).worst_ratio <= 1
    words = torch.randint(9, (1, 13))
    (found,) = rnn_edge.Session(bundle).run(words.numpy())
    np.testing.assert_allclose(found, module(words).detach().numpy(), atol=1e-6)


class Remembers(nn.Module):
    """State in a part and in the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.core, self.total = Kept(), torch.zeros(1, H)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.core(x)
        self.total = self.total + y.sum(1)
        return y, self.total


class Kept(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core, self.h = nn.GRU(F, H, batch_first=True), torch.zeros(1, 1, H)

    def forward(self, x: Tensor) -> Tensor:
        if self.h.size(1) != x.size(0):
            self.h = torch.zeros(1, x.size(0), self.core.hidden_size)
        y, self.h = self.core(x, self.h)
        return y


@pytest.mark.parametrize("loaded", [False, True])
def test_state_inside_of_torchscript_is_carried(loaded: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    script = torch.jit.script(Remembers().eval())
    if loaded:
        torch.jit.save(script, str(tmp_path / "net.pt"))
        script = torch.jit.load(str(tmp_path / "net.pt"))
    x = torch.randn(2, 6, F)
    bundle = rnn_edge.export(script, x, tmp_path / "bundle", axes=[("batch", "time", None)])
    assert {spec.name for spec in bundle.graph().inputs} == {"x", "core.h", "total"}
    assert not script.core.h.any()
    assert not script.total.any()
    session, fresh = rnn_edge.Session(bundle), torch.jit.script(Remembers().eval())
    fresh.load_state_dict(script.state_dict())
    states = {"core.h": np.zeros((1, 3, H), np.float32), "total": np.zeros((3, H), np.float32)}
    names = [spec.name for spec in bundle.graph().outputs]
    for steps in (4, 1):
        x = torch.randn(3, steps, F)
        found = session.run({"x": x.numpy(), **states})
        for array, tensor in zip(found, fresh(x), strict=False):
            np.testing.assert_allclose(array, tensor.detach().numpy(), atol=1e-6)
        new = dict(zip(names, found, strict=True))
        states = {name: new[f"{name}_n"] for name in states}


def test_number_that_torchscript_counts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"tensors of one size to be exported, self.count is not"):
        rnn_edge.export(
            torch.jit.script(Counts()), torch.ones(2, 3), tmp_path / "b", axes=[("batch", None)]
        )
