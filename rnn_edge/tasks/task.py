"""What a task must provide: data, a model, a loss, a report, and what its export needs.

A task is one file of this package with one subclass of Task, or of an abstract class of this
package whose name ends in Task. The file's name is the task's name
(``language_model.py`` is ``language-model``), the first line of its docstring is its help, and
`rnn-edge train` finds it there: no other file lists tasks. Importing this file loads no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rnn_edge.contract import AxisLimits, Decoder, FrontEnd
from rnn_edge.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rnn_edge.batching import Batch, Split

CELLS = (
    *("rnn-tanh", "rnn-relu", "lstm", "gru"),
    *("lstm-peephole", "lstm-layernorm", "gru-layernorm", "lstm-projection"),
)
State = tuple["Tensor", ...]


def described(
    default: Any,
    help: str,
    choices: Sequence[str] = (),
    minimum: float | None = None,
    below: float | None = None,
) -> Any:
    """A dataclass field with what the command line shows of it and what values it may have."""
    return field(
        default=default,
        metadata={"help": help, "choices": choices, "minimum": minimum, "below": below},
    )


class _Checked:
    """A dataclass of ``described`` fields that refuses other values with a TrainingError."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            value, kind = getattr(self, item.name), type(item.default)
            choices = item.metadata["choices"]
            if kind is float and type(value) is int:
                object.__setattr__(self, item.name, float(value))
            elif type(value) is not kind:
                must = f"a value of type {kind.__name__}"
                raise TrainingError(f"{item.name} must be {must}, got {value!r}. Correct it.")
            if choices and value not in choices:
                must = f"one of {', '.join(choices)}"
                raise TrainingError(f"{item.name} must be {must}, got {value!r}. Choose one.")
            _check_range(item.name, value, item.metadata["minimum"], item.metadata["below"])


def _check_range(name: str, value: Any, minimum: float | None, below: float | None) -> None:
    # Written so that NaN is refused too.
    if minimum is not None and not value >= minimum:
        raise TrainingError(f"{name} must be at least {minimum}, got {value!r}. Correct it.")
    if below is not None and not value < below:
        raise TrainingError(f"{name} must be below {below}, got {value!r}. Correct it.")


@dataclass(frozen=True)
class ModelOptions(_Checked):
    """What every recurrent model has; a task states its own defaults in ``Task.model``."""

    cell: str = described("gru", "Recurrent cell.", CELLS)
    hidden_size: int = described(64, "Units of each recurrent layer.", minimum=1)
    num_layers: int = described(1, "Recurrent layers, one on another.", minimum=1)
    bidirectional: bool = described(False, "Also read the sequence from its end.")
    dropout: float = described(
        0.0, "Share of activations dropped while training.", minimum=0.0, below=1.0
    )
    residual: bool = described(False, "Add to a layer's output its input, from the second layer.")


@dataclass(frozen=True)
class TrainingOptions(_Checked):
    """How every model is trained; a task states its own defaults in ``Task.training``."""

    epochs: int = described(20, "Passes over the training data, at most.", minimum=1)
    batch_size: int = described(32, "Sequences in one step.", minimum=1)
    lr: float = described(
        1e-3, "Learning rate; the highest one where a schedule changes it.", minimum=0.0
    )
    optimizer: str = described("adam", "Optimizer.", ("sgd", "adam"))
    momentum: float = described(0.9, "Momentum of sgd.", minimum=0.0, below=1.0)
    weight_decay: float = described(
        0.0, "Decoupled weight decay of adam, L2 penalty of sgd.", minimum=0.0
    )
    schedule: str = described(
        "constant",
        "Course of the learning rate: constant, one-cycle (up, then down to nothing) or cosine.",
        ("constant", "one-cycle", "cosine"),
    )
    averaging: float = described(
        0.0,
        "Decay of a moving average of the weights, which is what is kept; 0: none.",
        minimum=0.0,
        below=1.0,
    )
    keep: str = described(
        "best", "Weights to keep: of the epoch best on validation data, or last.", ("best", "last")
    )
    grad_clip: float = described(1.0, "Largest norm of the gradient; 0: no limit.", minimum=0.0)
    patience: int = described(
        0, "Stop after this many epochs without progress; 0: never.", minimum=0
    )
    threads: int = described(
        1, "CPU threads of one operation; small models gain nothing from more.", minimum=1
    )
    seed: int = described(0, "Seed of the weights, the order of the data and dropout.", minimum=0)


@dataclass(frozen=True)
class Option:
    """One option of a task's own, `--like-this` on the command line.

    Its type is that of ``default``; a bool becomes `--name/--no-name`. ``kind`` is needed only
    where ``default`` is None: the type of a value that may be left out. Values are from ``minimum``
    on and less than ``below``; others are refused.
    """

    name: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    kind: type | None = None
    minimum: float | None = None
    below: float | None = None


@dataclass(frozen=True)
class Interface:
    """What stays of the data when training is over, enough to build and to deploy the module.

    ``facts`` are JSON values (the longest sequence seen, say); the checkpoint keeps all three.
    """

    front_end: FrontEnd
    decoder: Decoder
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskData:
    """The data of a run, split.

    The weights of the best epoch on ``validation`` are kept, or with None those of the last.
    ``description`` is one line for a person: source, sizes, split.
    """

    train: Split
    validation: Split | None
    test: Split
    interface: Interface
    description: str


@dataclass(frozen=True)
class Table:
    """A table of a report, such as a confusion matrix; every row starts with its heading."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float, ...], ...]


@dataclass(frozen=True)
class Report:
    """What a trained model reached on the test split.

    ``scores``: method -> measure -> value; the trained model stands first, under its cell's name
    or "model", and the baselines follow. ``text`` is printed as it is (a generated sample).
    """

    scores: Mapping[str, Mapping[str, float]]
    tables: tuple[Table, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Deployment:
    """What ``rnn_edge.export`` needs beside the module and the folder, by the names it uses.

    ``args`` are example tensors for forward(), ``axes`` one tuple of axis names per argument.
    ``frame_rate`` is how many steps of time a second brings, where that is known.
    """

    args: tuple[Tensor, ...]
    axes: Sequence[tuple[str | None, ...]]
    output_names: Sequence[str]
    front_end: FrontEnd
    decoder: Decoder
    states: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, AxisLimits] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)
    frame_rate: float | None = None


class Task(ABC):
    """Abstract. A subclass sets the class attributes and writes the abstract methods.

    An instance holds the values of the task's own options in ``own``; what the task decides from
    the data goes into the Interface, never onto the instance, so that a checkpoint can build the
    same model again from its files alone.
    """

    # Defaults that `--help` shows. With causal = True, --bidirectional is refused.
    model: ClassVar[ModelOptions] = ModelOptions()
    training: ClassVar[TrainingOptions] = TrainingOptions()
    options: ClassVar[tuple[Option, ...]] = ()
    # Embedded data set -> option values that are the default for it instead.
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    causal: ClassVar[bool] = False
    # Names of data sets that --data takes; the first is the default. The help says what a path is.
    embedded: ClassVar[tuple[str, ...]]
    data_help: ClassVar[str]
    # The measure that progress shows and the best epoch is chosen by, and which way is better.
    metric: ClassVar[str]
    higher_is_better: ClassVar[bool] = False
    evaluation_batch_size: ClassVar[int] = 256

    def __init__(self, **own: Any) -> None:
        known = {option.name: option for option in self.options}
        unknown = sorted(set(own) - set(known))
        if unknown:
            raise TrainingError(
                f"options of this task must be among {', '.join(known) or 'none'}, "
                f"got {', '.join(unknown)}. Correct the name."
            )
        self.own: dict[str, Any] = {name: option.default for name, option in known.items()} | own
        for name, value in self.own.items():
            if value is not None:
                _check_range(name, value, known[name].minimum, known[name].below)

    @property
    def name(self) -> str:
        """The name that the command line has for this task: its file's."""
        return type(self).__module__.rpartition(".")[2].replace("_", "-")

    @abstractmethod
    def load(self, data: str | None, seed: int) -> TaskData:
        """Read ``data`` (an embedded name, a path, None for the default) and split it.

        ``seed`` makes the split and whatever else is random in the data. Raises DataError.
        """

    @abstractmethod
    def build(self, options: ModelOptions, interface: Interface) -> nn.Module:
        """A fresh module, ready to train, whose forward() is what will be exported.

        Called under a fixed seed, and again (its weights then overwritten) to read a checkpoint.
        Whatever normalisation there is belongs into the module, as buffers.
        """

    @abstractmethod
    def loss(self, output: Any, batch: Batch) -> Tensor:
        """The scalar to minimise: a mean over the ``batch.count`` predictions of the batch.

        ``output`` is what ``forward`` gave first.
        """

    def measure(self, output: Any, batch: Batch) -> dict[str, Tensor]:
        """Further scalars for progress and history, each a mean over ``batch.count``.

        ``metric`` must be one of them, or "loss", which is always there.
        """
        return {}

    @abstractmethod
    def report(self, module: nn.Module, data: TaskData) -> Report:
        """Score the trained ``module`` (eval mode) and the baselines on ``data.test``."""

    @abstractmethod
    def deployment(self, module: nn.Module, interface: Interface) -> Deployment:
        """What the export of ``module`` needs."""

    def forward(
        self, module: nn.Module, batch: Batch, state: State | None
    ) -> tuple[Any, State | None]:
        """Call the module; give its prediction, and the state for the next batch of this pass.

        ``state`` is None at the start of every pass over a Split, and then what this method gave
        for the batch before, detached from its graph: truncated back-propagation through time.
        As it stands, nothing is carried.
        """
        return module(*batch.inputs), None

    def plot(self, module: nn.Module, data: TaskData, folder: Path) -> None:  # noqa: B027
        """Draw what ``--plot`` shows of the trained module into PNG files in ``folder``."""

    def predictions(self, module: nn.Module, split: Split) -> Iterator[tuple[Any, Batch]]:
        """The module's outputs over one pass in evaluation order, without gradients."""
        import torch

        module.eval()
        state: State | None = None
        for batch in split.batches(self.evaluation_batch_size):
            with torch.inference_mode():
                output, state = self.forward(module, batch, state)
            yield output, batch

    def evaluate(self, module: nn.Module, split: Split) -> dict[str, float]:
        """The means of loss and measures over one pass of ``split``."""
        sums: dict[str, float] = {}
        count = 0
        for output, batch in self.predictions(module, split):
            values = {"loss": self.loss(output, batch), **self.measure(output, batch)}
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + float(value) * batch.count
            count += batch.count
        return {name: total / count for name, total in sums.items()}
