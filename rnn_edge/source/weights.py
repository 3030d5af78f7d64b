"""Weights from elsewhere, as they come: wrapped, prefixed, with weight_norm still apart."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

from rnn_edge.code_line import shorten
from rnn_edge.errors import CheckpointError
from rnn_edge.extras import import_extra

# What training scripts call the weights among other things, the most telling first.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "weights")
# Steps on the way to a tensor that DataParallel and torch.compile add.
_ADDED_STEPS = {"module", "_orig_mod"}
# weight_norm's two forms: length and direction of a weight.
_PARAMETRIZED = re.compile(r"(^|.*\.)parametrizations\.([^.]+)\.original([01])")
# What the model is called inside a training module such as Lightning's.
_MODELS = ("model", "net", "network")
_SHOWN_NAMES = 8

Weights = dict[str, Tensor]


def load_weights(module: nn.Module, path: Path) -> None:
    """Copy the weights in ``path`` into ``module``: safetensors, or what torch.save wrote.

    Unwraps ``{"state_dict": ...}`` and the like, leaves out the prefixes of DataParallel,
    torch.compile and Lightning, and folds weight_norm. Raises CheckpointError, naming the tensors,
    when they are not exactly those of the module; ``module`` is then as before.
    """
    weights = _unwrap(_read(path), path)
    expected = {k: v for k, v in module.state_dict().items() if isinstance(v, Tensor)}
    fitted = _fit(weights, expected)
    _compare_names(path, expected, fitted)
    for name, value in expected.items():
        if name in fitted:
            _check_kind(path, name, fitted[name], value)
    module.load_state_dict(
        {name: fitted[name] for name in expected if name in fitted}, strict=False
    )


def fold_weight_norm(module: nn.Module) -> None:
    """Put plain weights in the place of torch.nn.utils.weight_norm's, which cannot be copied."""
    for part in module.modules():
        for hook in list(part._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(part, hook.name)


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(
            f"{path} must be a file of weights, got: {error.strerror}. Correct --weights."
        ) from None
    if start[8:9] == b"{":
        return _read_safetensors(path)
    if zipfile.is_zipfile(path):
        _refuse_compressed(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise _unreadable(path, error) from error


def _read_safetensors(path: Path) -> Any:
    load_file = import_extra("safetensors.torch").load_file
    error_type = import_extra("safetensors").SafetensorError
    try:
        return load_file(path)
    except (OSError, error_type) as error:
        raise CheckpointError(
            f"{path} must be a whole safetensors file, got: {shorten(error, 200)}. Copy it again."
        ) from None


def _refuse_compressed(path: Path) -> None:
    """torch.save stores without compression; a small archive must not unpack to a huge one."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from None
    if size > path.stat().st_size:
        raise CheckpointError(
            f"{path} must hold its tensors uncompressed, as torch.save writes them, "
            f"it would unpack to {size:,} bytes. Save it with torch.save."
        )


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused:
        return CheckpointError(
            f"{path} must hold tensors alone to be loaded safely, it refers to "
            f"{refused[1].rstrip('.')}. Save module.state_dict() by itself."
        )
    return CheckpointError(
        f"{path} must be a whole safetensors file or what torch.save wrote of a state_dict, "
        f"got {type(error).__name__}: {shorten(error, 160)} Save module.state_dict() again."
    )


def _unwrap(content: Any, path: Path) -> Weights:
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} must hold a state_dict, got {type(content).__name__}. "
            "Save module.state_dict()."
        )
    for key in _WRAPPERS:
        if isinstance(content.get(key), Mapping):
            return _unwrap(content[key], path)
    weights = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if weights:
        return weights
    inner = [k for k, v in content.items() if isinstance(v, Mapping) and _holds_tensors(v)]
    if len(inner) == 1:
        return _unwrap(content[inner[0]], path)
    raise CheckpointError(
        f"{path} must hold one state_dict, got {_join(map(str, inner or content)) or 'nothing'}. "
        "Save module.state_dict() by itself."
    )


def _holds_tensors(mapping: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in mapping.values())


def _fit(weights: Weights, expected: Mapping[str, Tensor]) -> Weights:
    """``weights`` under the names of ``expected``, as far as they can be brought there."""
    if set(weights) == set(expected):
        return weights
    names, found = _by_plain_name(expected), _by_plain_name(weights)
    wanted = {name: expected[full] for name, full in names.items()}
    plain = {name: weights[full] for name, full in found.items()}
    candidates = [_fold(candidate, wanted) for candidate in _strip(plain)]
    best = max(candidates, key=lambda candidate: len(candidate.keys() & wanted.keys()))
    return {names.get(name, found.get(name, name)): value for name, value in best.items()}


def _by_plain_name(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The names by what remains of them without what wrappers add; as they are if that clashes."""
    plain = {_plain(name): name for name in tensors}
    return plain if len(plain) == len(tensors) else {name: name for name in tensors}


def _plain(name: str) -> str:
    """``module.a._orig_mod.weight`` as ``a.weight``; weight_norm's new form as its old one."""
    name = ".".join(step for step in name.split(".") if step not in _ADDED_STEPS)
    match = _PARAMETRIZED.fullmatch(name)
    return f"{match[1]}{match[2]}_{'gv'[int(match[3])]}" if match else name


def _strip(weights: Weights) -> Iterator[Weights]:
    """``weights``, and without a leading step: one that all names have, or that of the model in a
    training module, which holds losses and metrics beside it."""
    yield weights
    firsts = {name.partition(".")[0] for name in weights}
    for first in firsts if len(firsts) == 1 else [step for step in _MODELS if step in firsts]:
        prefix = f"{first}."
        below = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        if below:
            yield from _strip(below)


def _fold(weights: Weights, expected: Mapping[str, Tensor]) -> Weights:
    """``weights`` with each pair ``w_g``, ``w_v`` as the one tensor ``w``, where it is expected."""
    folded = dict(weights)
    for name in expected.keys() - weights.keys():
        if f"{name}_g" in weights and f"{name}_v" in weights:
            length, direction = folded.pop(f"{name}_g"), folded.pop(f"{name}_v")
            # Sizes first: a small file can claim a tensor of any size.
            fits = direction.shape == expected[name].shape and _is_length_of(length, direction)
            folded[name] = _multiply(length, direction) if fits else direction
    return folded


def _is_length_of(length: Tensor, direction: Tensor) -> bool:
    sizes = zip(length.shape, direction.shape, strict=False)
    return (
        length.dim() in (0, direction.dim())
        and all(size in (1, full) for size, full in sizes)
        and all(tensor.layout is torch.strided for tensor in (length, direction))
    )


def _multiply(length: Tensor, direction: Tensor) -> Tensor:
    """weight_norm's product; ``length`` has size 1 along the axes of the norm."""
    axes = [axis for axis, size in enumerate(length.shape) if size == 1]
    norm = torch.linalg.vector_norm(direction, dim=axes or None, keepdim=True)
    return direction * (length / norm)


def _compare_names(path: Path, expected: Mapping[str, Tensor], found: Weights) -> None:
    # Batch norm counts its batches only since torch 0.4, and the count is not used in eval mode.
    missing = [n for n in expected if n not in found and not n.endswith("num_batches_tracked")]
    unexpected = [name for name in found if name not in expected]
    faults = [
        f"{what} {_join(names)}"
        for what, names in (("lacks", missing), ("also has", unexpected))
        if names
    ]
    if faults:
        raise CheckpointError(
            f"{path} must hold exactly the tensors of the module, it {' and '.join(faults)}. "
            "Give the weights of this module, built with the same options."
        )


def _check_kind(path: Path, name: str, found: Tensor, expected: Tensor) -> None:
    alike = found.is_floating_point() == expected.is_floating_point()
    dense = found.layout is torch.strided and found.device.type == "cpu"
    if found.shape != expected.shape or not alike or not dense:
        raise CheckpointError(
            f"{name} in {path} must be {_kind(expected)} as in the module, got {_kind(found)}. "
            "Give the weights of this module, built with the same options."
        )


def _kind(tensor: Tensor) -> str:
    unusual = "" if tensor.layout is torch.strided else f" {tensor.layout}"
    unusual += "" if tensor.device.type == "cpu" else f" on {tensor.device}"
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}{unusual}"


def _join(names: Iterable[str]) -> str:
    shown = list(names)
    more = len(shown) - _SHOWN_NAMES
    return ", ".join(shown[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
