"""The folder that training writes: weights, configuration, front end, the trainer's own state."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnn_edge.contract import Decoder, FrontEnd, decoder_from_dict, front_end_from_dict
from rnn_edge.errors import CheckpointError, MissingExtraError, RnnEdgeError
from rnn_edge.extras import import_extra
from rnn_edge.folder import replace_folder
from rnn_edge.tasks import task_class
from rnn_edge.tasks.task import Deployment, Interface, ModelOptions, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = "rnn-edge-checkpoint"
FORMAT_VERSION = 1
CONFIG = "config.json"
FRONT_END = "front_end.json"
WEIGHTS = "model.safetensors"
TRAINER_STATE = "trainer.ckpt"


@dataclass(frozen=True)
class Checkpoint:
    """A trained model. ``module`` is in eval mode; ``config`` is what config.json holds: task and
    own options, model and training options, ``metrics`` on the test split, history, versions."""

    path: Path
    module: nn.Module
    task: Task
    interface: Interface
    config: Mapping[str, Any]

    @property
    def front_end(self) -> FrontEnd:
        return self.interface.front_end

    @property
    def decoder(self) -> Decoder:
        return self.interface.decoder

    def deployment(self) -> Deployment:
        """What ``rnn_edge.export`` needs beside the module and the folder."""
        return self.task.deployment(self.module, self.interface)


def save_checkpoint(
    path: str | Path,
    module: nn.Module,
    interface: Interface,
    config: Mapping[str, Any],
    fill: Callable[[Path], None],
) -> None:
    """Write a checkpoint folder whole, in the place of one that is there.

    ``fill`` adds further files (the trainer's state, pictures). Raises CheckpointError when the
    place cannot be written or holds something else.
    """
    serialise = import_extra("safetensors.torch").save
    target = Path(path)
    refuse_foreign_folder(target)

    def fill_all(folder: Path) -> None:
        weights = {name: value.detach().contiguous() for name, value in module.state_dict().items()}
        (folder / WEIGHTS).write_bytes(serialise(weights))
        _write_json(folder / CONFIG, {"format": FORMAT, "format_version": FORMAT_VERSION, **config})
        _write_json(folder / FRONT_END, asdict(interface))
        fill(folder)

    try:
        replace_folder(target, fill_all)
    except OSError as error:
        raise _unwritable(target, error) from None


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint folder. Raises CheckpointError, in one line, for whatever does not fit."""
    folder = Path(path)
    config = read_config(folder)
    try:
        task = task_class(config["task"])(**config["own"])
        options = ModelOptions(**config["model"])
        stored = _read_json(folder / FRONT_END)
        interface = Interface(
            front_end=front_end_from_dict(stored["front_end"]),  # type: ignore[arg-type]
            decoder=decoder_from_dict(stored["decoder"]),  # type: ignore[arg-type]
            facts=stored["facts"],
        )
        with import_extra("torch").random.fork_rng(devices=[]):
            module = task.build(options, interface)
    except (CheckpointError, MissingExtraError):
        raise
    except (RnnEdgeError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder} must describe a model that this version can build, "
            f"got {type(error).__name__}: {error}. Train again."
        ) from None
    _load_weights(module, folder / WEIGHTS)
    return Checkpoint(folder, module.eval(), task, interface, config)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint folder, its format checked. Raises CheckpointError."""
    if not (folder / CONFIG).is_file():
        raise CheckpointError(
            f"checkpoint must be a folder with a {CONFIG}, {folder} has none. "
            "Give the folder that `rnn-edge train` wrote."
        )
    config = _read_json(folder / CONFIG)
    found = (config.get("format"), config.get("format_version"))
    if found != (FORMAT, FORMAT_VERSION):
        raise CheckpointError(
            f"{folder / CONFIG} must be {FORMAT} version {FORMAT_VERSION}, "
            f"got {found[0]!r} version {found[1]!r}. Use the rnn-edge that wrote it."
        )
    return config


def refuse_foreign_folder(target: Path) -> None:
    """Raise CheckpointError when ``target`` holds something that training must not replace."""
    try:
        foreign = target.exists() and (
            not target.is_dir() or (any(target.iterdir()) and not (target / CONFIG).is_file())
        )
    except OSError as error:
        raise _unwritable(target, error) from None
    if foreign:
        raise CheckpointError(
            f"{target} must be a new folder, an empty one or a checkpoint, "
            "it holds something else. Choose another folder with -o."
        )


def _load_weights(module: nn.Module, path: Path) -> None:
    load_file = import_extra("safetensors.torch").load_file
    error_type = import_extra("safetensors").SafetensorError
    try:
        weights = load_file(path)
    except (OSError, error_type) as error:
        raise CheckpointError(
            f"{path} must be a whole safetensors file, got: {error}. Train or copy it again."
        ) from None
    expected = module.state_dict()
    _compare_names(path, set(expected), set(weights))
    for name, value in expected.items():
        if (weights[name].shape, weights[name].dtype) != (value.shape, value.dtype):
            raise CheckpointError(
                f"{name} in {path} must be {_kind(value)} for the model of {CONFIG}, "
                f"got {_kind(weights[name])}. Train again."
            )
    module.load_state_dict(weights)


def _compare_names(path: Path, expected: set[str], found: set[str]) -> None:
    for what, names in (("lacks", expected - found), ("also has", found - expected)):
        if names:
            raise CheckpointError(
                f"{path} must hold the tensors of the model of {CONFIG}, "
                f"it {what} {', '.join(sorted(names))}. Train again."
            )


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(
            f"{path} must be a JSON file, got: {reason}. Train or copy it again."
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must be a JSON object, it is not. Train or copy it again.")
    return content


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _unwritable(target: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{target} must be a place to write a folder, got: {error.strerror or error}. "
        "Choose another folder with -o."
    )
