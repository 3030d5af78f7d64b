"""Weights from elsewhere give the answers of the module that they come from."""

from __future__ import annotations

import io
import zipfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils import weight_norm as old_weight_norm

from rnn_edge.errors import CheckpointError
from rnn_edge.source.weights import fold_weight_norm, load_weights

Weights = dict[str, Tensor]


class Net(nn.Module):
    def __init__(self, hidden: int = 5) -> None:
        super().__init__()
        self.core = nn.LSTM(4, hidden, batch_first=True)
        self.norm = nn.BatchNorm1d(hidden)
        self.conv = nn.ConvTranspose1d(hidden, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.norm(self.core(x)[0].transpose(1, 2)))
        return y


class Wrapped(nn.Module):
    """As Lightning and others hold a model: beside losses of its own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.criterion = nn.CrossEntropyLoss(weight=torch.ones(3))


X = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1))


def answer(module: nn.Module) -> Tensor:
    with torch.no_grad():
        result: Tensor = module.eval()(X)
    return result


def trained() -> Net:
    torch.manual_seed(3)
    net = Net()
    with torch.no_grad():
        net.norm.running_mean.uniform_(-1, 1)
    return net


def prefixed(prefix: str) -> Callable[[Weights], Any]:
    return lambda weights: {f"{prefix}{name}": value for name, value in weights.items()}


def compiled_inside(weights: Weights) -> Any:
    return {name.replace("core.", "core._orig_mod."): value for name, value in weights.items()}


def in_double(weights: Weights) -> Any:
    return {k: v.double() if v.is_floating_point() else v for k, v in weights.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        OrderedDict,
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("_orig_mod.module."),
        prefixed("model."),
        prefixed("model.network."),
        compiled_inside,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": weights, "optimizer": {"state": {}, "param_groups": []}},
        lambda weights: {"model_state_dict": prefixed("module.")(weights), "loss": 0.5},
        lambda weights: {"ema": weights, "step": 7},
        in_double,
        lambda weights: {k: v for k, v in weights.items() if "num_batches" not in k},
    ],
    ids=lambda wrap: getattr(wrap, "__name__", None),
)
def test_wrapped_and_prefixed_weights_load(wrap: Callable[[Weights], Any], tmp_path: Path) -> None:
    original, module = trained(), Net()
    torch.save(wrap(original.state_dict()), tmp_path / "net.pt")
    load_weights(module, tmp_path / "net.pt")
    assert torch.equal(answer(module), answer(original))


def test_weights_of_a_training_module_load_without_its_loss(tmp_path: Path) -> None:
    original, module = trained(), Net()
    torch.save({"state_dict": Wrapped(original).state_dict()}, tmp_path / "last.ckpt")
    load_weights(module, tmp_path / "last.ckpt")
    assert torch.equal(answer(module), answer(original))


def test_weights_of_the_real_wrappers_load(tmp_path: Path) -> None:
    original = trained()
    for wrapper in (nn.DataParallel(original), torch.compile(original)):
        module = Net()
        torch.save(wrapper.state_dict(), tmp_path / "net.pt")
        load_weights(module, tmp_path / "net.pt")
        assert torch.equal(answer(module), answer(original))


@pytest.mark.parametrize("normalise", [old_weight_norm, parametrizations.weight_norm])
@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_weight_norm_is_folded(normalise: Any, dim: int | None, tmp_path: Path) -> None:
    original, module = trained(), Net()
    normalise(original.conv, "weight", dim=dim)
    normalise(original.core, "weight_hh_l0")
    with torch.no_grad():
        for name, value in original.named_parameters():
            if name.endswith(("_g", "original0")):
                value.mul_(1.5)
    torch.save(prefixed("module.")(original.state_dict()), tmp_path / "net.pt")
    load_weights(module, tmp_path / "net.pt")
    torch.testing.assert_close(answer(module), answer(original), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_old_weight_norm_loads_into_the_new_form(tmp_path: Path) -> None:
    original, module = trained(), Net()
    old_weight_norm(original.conv)
    parametrizations.weight_norm(module.conv)
    torch.save(original.state_dict(), tmp_path / "net.pt")
    load_weights(module, tmp_path / "net.pt")
    torch.testing.assert_close(answer(module), answer(original), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_old_weight_norm_of_a_module_is_folded_so_that_it_can_be_copied() -> None:
    module = trained()
    old_weight_norm(module.conv)
    old_weight_norm(module.core, "weight_hh_l0")
    with torch.no_grad():
        module.conv.weight_g.mul_(2)
    expected = answer(module)
    fold_weight_norm(module)
    torch.testing.assert_close(answer(deepcopy(module)), expected, rtol=1e-5, atol=1e-6)


def test_safetensors_are_known_by_their_content(tmp_path: Path) -> None:
    original, module = trained(), Net()
    save_file(prefixed("module.")(original.state_dict()), tmp_path / "net.pt")
    load_weights(module, tmp_path / "net.pt")
    assert torch.equal(answer(module), answer(original))


def test_files_of_old_torch_load(tmp_path: Path) -> None:
    original, module = trained(), Net()
    torch.save(original.state_dict(), tmp_path / "net.pt", _use_new_zipfile_serialization=False)
    load_weights(module, tmp_path / "net.pt")
    assert torch.equal(answer(module), answer(original))


def without(weights: Weights, name: str) -> Weights:
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: without(w, "conv.bias"), "it lacks conv.bias"),
        (lambda w: {**w, "lost.weight": torch.ones(1)}, "it also has lost.weight"),
        (
            lambda w: {**without(w, "conv.bias"), "conv.b": torch.ones(3)},
            "it lacks conv.bias and also has conv.b",
        ),
        (
            lambda w: {**w, "conv.bias": torch.ones(2)},
            "must be float32[3] as in the module, got float32[2]",
        ),
        (
            lambda w: {**w, "conv.bias": torch.ones(1).expand(2**40)},
            "got float32[1099511627776]",
        ),
        (lambda w: {**w, "conv.bias": torch.ones(3).int()}, "got int32[3]"),
        (lambda w: {**w, "conv.bias": torch.ones(3).to_sparse()}, "got float32[3] torch.sparse"),
        (lambda w: {**w, "conv.bias": torch.ones(3, device="meta")}, "got float32[3] on meta"),
        (lambda w: {"lr": 0.1}, "must hold one state_dict, got lr"),
        (lambda w: {"a": w, "b": dict(w)}, "must hold one state_dict, got a, b"),
        (lambda w: [1, 2], "must hold a state_dict, got list"),
        (lambda w: {"state_dict": w, "args": Namespace(a=1)}, "refers to argparse.Namespace"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_that_names_it(
    change: Callable[[Weights], Any], message: str, tmp_path: Path
) -> None:
    module = Net()
    before = answer(module)
    torch.save(change(trained().state_dict()), tmp_path / "net.pt")
    with pytest.raises(CheckpointError) as caught:
        load_weights(module, tmp_path / "net.pt")
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert torch.equal(answer(module), before)


def test_a_huge_direction_is_not_multiplied_out(tmp_path: Path) -> None:
    weights = without(trained().state_dict(), "conv.weight")
    weights["conv.weight_g"] = torch.ones(5, 1, 1)
    weights["conv.weight_v"] = torch.ones(1).expand(5, 2**20, 2**20)
    torch.save(weights, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=r"conv\.weight in .* must be float32\[5, 3, 2\]"):
        load_weights(Net(), tmp_path / "net.pt")


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"conv.bias": torch.zeros(2**20)}, buffer)
    with (
        zipfile.ZipFile(buffer) as stored,
        zipfile.ZipFile(tmp_path / "net.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in stored.infolist():
            packed.writestr(entry.filename, stored.read(entry))
    with pytest.raises(CheckpointError, match=r"uncompressed.*would unpack to 4,19\d,\d+ bytes"):
        load_weights(Net(), tmp_path / "net.pt")


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x02garbage", b"PK\x03\x04 cut"])
def test_what_is_no_file_of_weights_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"net\.pt must be a whole safetensors file or"):
        load_weights(Net(), tmp_path / "net.pt")


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_a_truncated_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    weights = trained().state_dict()
    if kind == "torch":
        torch.save(weights, path)
    else:
        save_file(weights, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="must be a whole safetensors file"):
        load_weights(Net(), path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        load_weights(Net(), tmp_path / "net.pt")
