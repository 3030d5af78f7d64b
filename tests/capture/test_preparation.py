"""Modules as training leaves them: wrapped, normalised, lazy, in training mode, on other dtypes."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint

import rnn_edge
from rnn_edge.capture.preparation import copy_module

F, H = 3, 4


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(F, H, batch_first=True)
        self.head = nn.Sequential(nn.Linear(H, H), nn.Dropout(0.5), nn.Linear(H, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.core(x)[0])


def weight_norm() -> nn.Module:
    """The old kind, after a step of training: torch cannot copy such a module."""
    net = Net()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.nn.utils.weight_norm(net.core, "weight_hh_l0")
        torch.nn.utils.weight_norm(net.head[0])
    return trained(net)


def spectral_norm() -> nn.Module:
    net = Net()
    torch.nn.utils.spectral_norm(net.head[0])
    return trained(net)


def new_spectral_norm() -> nn.Module:
    net = Net()
    parametrizations.spectral_norm(net.head[0])
    return trained(net)


def orthogonal() -> nn.Module:
    net = Net()
    parametrizations.orthogonal(net.head[0])
    return trained(net)


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).transpose(-1, -2)


def parametrized() -> nn.Module:
    net = Net()
    parametrize.register_parametrization(net.head[0], "weight", Symmetric())
    return trained(net)


def trained(net: nn.Module) -> nn.Module:
    """After two steps of training, in training mode, with gradients."""
    optimizer = torch.optim.SGD(net.parameters(), 0.02)
    for _ in range(2):
        loss = net(torch.randn(2, 5, F)).square().sum()
        loss.backward()
        optimizer.step()
    net(torch.randn(2, 5, F))
    return net


def training_mode() -> nn.Module:
    net = Net()
    net.head.append(nn.BatchNorm1d(2))
    net.head.insert(3, nn.Flatten(0, 1))
    return trained(net)


class Contexts(Net):
    """Runs parts without gradients, in inference mode, and under autocast that is off."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.core(x)[0]
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            return self.head(y)


class Checkpointed(Net):
    """Saves memory in training by computing the head twice."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = checkpoint(self.head, self.core(x)[0], use_reentrant=False)
        return y


def export(module: nn.Module, folder: Path) -> rnn_edge.Bundle:
    return rnn_edge.export(
        module, torch.randn(2, 6, F), folder / "bundle", axes=[("batch", "sequence", None)]
    )


KINDS = [
    weight_norm, spectral_norm, new_spectral_norm, orthogonal, parametrized, training_mode,
    Contexts, Checkpointed,
]  # fmt: skip


@pytest.mark.parametrize("make", KINDS)
def test_answers_are_those_of_eval_mode(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = make()
    names = [name for name, _ in module.named_parameters()]
    training = [part.training for part in module.modules()]
    session = rnn_edge.Session(export(module, tmp_path))
    assert [name for name, _ in module.named_parameters()] == names
    assert [part.training for part in module.modules()] == training
    module.eval()
    for batch, steps in ((1, 1), (3, 11)):
        x = torch.randn(batch, steps, F)
        with torch.no_grad():
            expected = module(x)
        torch.testing.assert_close(
            torch.from_numpy(session.run(x.numpy())[0]), expected, rtol=1e-4, atol=1e-5
        )


def compiled(net: nn.Module) -> nn.Module:
    wrapped: nn.Module = torch.compile(net)  # type: ignore[assignment]
    return wrapped


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, compiled, lambda net: nn.DataParallel(compiled(net))]
)
def test_wrappers_are_taken_off(wrap: Callable[[nn.Module], nn.Module], tmp_path: Path) -> None:
    net = Net().eval()
    bundle = export(wrap(net), tmp_path)
    assert "core.layer_0" in bundle.graph_path().read_bytes().decode("latin1")
    x = torch.randn(3, 7, F)
    found = torch.from_numpy(rnn_edge.Session(bundle).run(x.numpy())[0])
    torch.testing.assert_close(found, net(x).detach(), rtol=1e-4, atol=1e-5)
    assert rnn_edge.verify(bundle, wrap(net)).worst_ratio <= 1


def test_lazy_parts_get_their_sizes_on_a_copy(tmp_path: Path) -> None:
    net = Net()
    net.head = nn.Sequential(nn.LazyLinear(5), nn.LazyLinear(2))
    bundle = export(net, tmp_path)
    assert bundle.graph().outputs[0].dims == ("batch", "sequence", 2)
    assert isinstance(net.head[0], nn.LazyLinear)
    assert net.head[0].has_uninitialized_params()


def quantized() -> nn.Module:
    net: nn.Module = torch.ao.quantization.quantize_dynamic(Net(), {nn.Linear}, dtype=torch.qint8)
    return net


def program() -> torch.export.ExportedProgram:
    return torch.export.export(Net().eval(), (torch.randn(2, 5, F),))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (quantized, r"self\.head\.0 is a quantized Linear\. Export the module before"),
        (lambda: Net().bfloat16(), r"self\.core\.weight_ih_l0 is bfloat16\. Call \.float\(\)"),
        (lambda: Net().to("meta"), r"self\.core\.weight_ih_l0 is on meta\. Call \.cpu\(\)"),
        (lambda: torch.relu, r"must be a torch\.nn\.Module, got builtin"),
        (lambda: Net, r"must be a torch\.nn\.Module, got the class Net\. Call it\."),
        (program, r"got a program of torch\.export, which keeps the sizes"),
        (lambda: program().module(), r"got a program of torch\.export, which keeps the sizes"),
    ],
)
def test_what_cannot_be_taken_is_named(
    make: Callable[[], nn.Module], message: str, tmp_path: Path
) -> None:
    with pytest.raises(rnn_edge.RnnEdgeError, match=message):
        export(make(), tmp_path)


def test_state_with_gradients_is_copied(tmp_path: Path) -> None:
    """A result of the last training step is left on the module."""

    class LeavesOutput(Net):
        def forward(self, x: Tensor) -> Tensor:
            self.last = super().forward(x)
            return self.last

    module = LeavesOutput()
    module(torch.randn(2, 5, F))
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(module)
    assert export(module, tmp_path).graph().states == ()


def test_functions_of_a_copy_hold_the_copy() -> None:
    """A hook, and a function on the module, that were defined where ``self`` was at hand."""

    class Seen(Net):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[Tensor] = []
            self.core.register_forward_hook(lambda _, given, answer: self.seen.append(answer[0]))
            self.scaled = lambda y: self.scale * y
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, x: Tensor) -> Tensor:
            self.core(x)
            return self.scaled(self.head(self.seen.pop()))

    net, x = Seen().eval(), torch.randn(2, 5, F)
    expected = net(x).detach()
    copied = copy_module(net)
    with torch.no_grad():
        net.scale.zero_()
    torch.testing.assert_close(copied(x).detach(), expected)
    assert not net(x).any()
