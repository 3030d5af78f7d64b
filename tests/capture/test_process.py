"""What exports do to the process: nothing that stays, in any order, and from two threads."""

from __future__ import annotations

import gc
import importlib
import inspect
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import rnn

import rnn_edge
from rnn_edge.errors import ExportError

AXES = [("batch", "sequence", None)]
PACKAGES = (torch, torch.nn.functional, rnn, torch.Tensor)


class Layers(nn.Module):
    def __init__(self, cell: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.core = cell(3, 4, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x)[0]


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.cell = nn.GRUCell(3, 4)
        self.norm = nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 4)
        states = []
        for t in range(x.size(1)):
            h = self.norm(self.cell(x[:, t], h))
            states.append(h)
        return torch.stack(states, dim=1)


class Stubborn(nn.Module):
    """The shape of what it returns depends on the data: no graph can hold it."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.core(x)[0]
        return y if y.sum().item() > 0 else y[:, 0]


def attributes_of_torch() -> dict[tuple[object, str], object]:
    """Every attribute of torch's modules and functions, to be compared by identity.

    When torch first loads its compiler, it wraps a function of its own: that is done before.
    """
    importlib.import_module("torch._dynamo")
    classes = {one for one in vars(nn.modules).values() if inspect.isclass(one)}
    classes |= {part for one in list(classes) for part in one.__mro__ if part is not object}
    return {
        (owner, name): value
        for owner in (*classes, *PACKAGES)
        for name, value in list(vars(owner).items())
        if callable(value) or isinstance(value, (property, classmethod, staticmethod))
    }


def assert_untouched(before: dict[tuple[object, str], object]) -> None:
    after = attributes_of_torch()
    changed = [key for key, value in before.items() if after.get(key) is not value]
    assert changed == []


def assert_equal_to_eager(bundle: rnn_edge.Bundle, module: nn.Module) -> None:
    session = rnn_edge.Session(bundle)
    for batch, steps in ((1, 1), (5, 17)):
        x = torch.randn(batch, steps, 3, generator=torch.Generator().manual_seed(steps))
        with torch.no_grad():
            expected = module(x)
        (found,) = session.run(x.numpy())
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=2e-6)


def export(module: nn.Module, folder: Path) -> rnn_edge.Bundle:
    return rnn_edge.export(module, (torch.randn(2, 6, 3),), folder, axes=AXES, stream=False)


def configurations() -> Iterator[nn.Module]:
    for cell in (nn.LSTM, nn.GRU):
        yield Layers(cell)
        yield Layers(cell, num_layers=2, bidirectional=True)
        yield Layers(cell, bias=False)


def test_torch_is_as_it_was(tmp_path: Path) -> None:
    before = attributes_of_torch()
    assert len(before) > 2000
    for number, module in enumerate((Layers(nn.LSTM), Loop())):
        parts = {name: dict(vars(part)) for name, part in module.named_modules()}
        export(module, tmp_path / str(number))
        assert {name: dict(vars(part)) for name, part in module.named_modules()} == parts
    assert_untouched(before)


def test_torch_is_as_it_was_after_a_failure(tmp_path: Path) -> None:
    before = attributes_of_torch()
    module = Stubborn().train()
    parts = {name: dict(vars(part)) for name, part in module.named_modules()}
    with pytest.raises(ExportError):
        export(module, tmp_path / "bundle")
    assert {name: dict(vars(part)) for name, part in module.named_modules()} == parts
    assert_untouched(before)
    sound = Layers(nn.LSTM)
    assert_equal_to_eager(export(sound, tmp_path / "bundle"), sound)


def test_exports_follow_each_other_and_torch_s_own(tmp_path: Path) -> None:
    """torch's exporter leaves entries of its layers behind, which later exports must not use."""
    batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence")
    for number, module in enumerate(configurations()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(),
                (torch.randn(2, 6, 3),),
                dynamo=True,
                verbose=False,
                dynamic_shapes=({0: batch, 1: sequence, 2: None},),
            )
        assert_equal_to_eager(export(module, tmp_path / str(number)), module)


def test_two_threads_export_at_once(tmp_path: Path) -> None:
    modules: list[nn.Module] = [Loop(), Layers(nn.LSTM), Layers(nn.GRU, bidirectional=True), Loop()]
    bundles: dict[int, rnn_edge.Bundle] = {}
    failures: list[BaseException] = []
    start = threading.Barrier(2)

    def work(numbers: tuple[int, ...]) -> None:
        start.wait()
        try:
            for number in numbers:
                bundles[number] = export(modules[number], tmp_path / str(number))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(part,)) for part in ((0, 1), (2, 3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for number, module in enumerate(modules):
        assert_equal_to_eager(bundles[number], module)


def test_one_module_exported_by_two_threads(tmp_path: Path) -> None:
    module = Layers(nn.LSTM).train()
    threads = [
        threading.Thread(target=export, args=(module, tmp_path / str(number)))
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert module.training
    assert module.core.training
    for number in range(2):
        assert_equal_to_eager(rnn_edge.Bundle.load(tmp_path / str(number)), module)


def test_no_module_is_kept_alive(tmp_path: Path) -> None:
    class Heavy(Layers):
        pass

    export(Heavy(nn.LSTM), tmp_path / "bundle")
    gc.collect()
    kept = [one for one in gc.get_objects() if type(one) is Heavy]
    assert kept == []
