"""What is measured: a session of ours, and beside it the eager torch module that it came from."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_edge.errors import InputError, VerificationError
from rnn_edge.extras import import_extra
from rnn_edge.profiling.latency import Arrays, Engine
from rnn_edge.runtime import LongSequenceWarning, Session

if TYPE_CHECKING:
    from torch import Tensor, nn

# Of the largest number of an answer: float32 keeps 1.2e-7 of it, a long recurrence loses some.
AGREEMENT = 1e-4


class SessionEngine(Engine):
    """``Session.run`` as an app in Python calls it, its checks of the input included."""

    name = "onnxruntime"

    def __init__(self, session: Session) -> None:
        self.session = session

    @contextmanager
    def setting(self) -> Iterator[None]:
        with warnings.catch_warnings():
            # The length is chosen for its speed here; the answers are not used.
            warnings.simplefilter("ignore", LongSequenceWarning)
            yield

    def call(self, prepared: Arrays) -> list[np.ndarray]:
        return self.session.run(prepared)

    def answers(self, returned: list[np.ndarray]) -> list[np.ndarray]:
        return returned


class TorchEngine(Engine):
    """The eager module in inference mode.

    Torch's oneDNN kernels are the slower ones at one step and the faster ones on sequences, so the
    module is measured with them and without.
    """

    def __init__(self, module: nn.Module, *, onednn: bool = True) -> None:
        self.name = "torch" if onednn else "torch-no-onednn"
        self.module = module.eval()
        self._onednn = onednn
        self._torch = import_extra("torch")

    @contextmanager
    def setting(self) -> Iterator[None]:
        # mkldnn.flags() would set TF32 too, and warn about it each time.
        mkldnn = self._torch.backends.mkldnn
        before = mkldnn.enabled
        mkldnn.enabled = self._onednn
        try:
            with self._torch.inference_mode():
                yield
        finally:
            mkldnn.enabled = before

    def prepare(self, feed: Arrays) -> dict[str, Any]:
        tensors = {name: self._torch.from_numpy(array) for name, array in feed.items()}
        return bind(self.module, tensors)

    def call(self, prepared: dict[str, Any]) -> Any:
        return self.module(**prepared)

    def answers(self, returned: Any) -> list[np.ndarray]:
        leaves = self._torch.utils._pytree.tree_leaves(returned)
        return [leaf.numpy() for leaf in leaves if leaf is not None]


def torch_engines(module: nn.Module | str | Path) -> list[TorchEngine]:
    """The engines of an eager module, or of the one in a checkpoint folder.

    Raises CheckpointError when the folder is none, MissingExtraError without torch.
    """
    torch = import_extra("torch")
    if isinstance(module, str | Path):
        from rnn_edge.checkpoint import load_checkpoint

        module = load_checkpoint(module).module
    engines = [TorchEngine(module)]
    if torch.backends.mkldnn.is_available():
        engines.append(TorchEngine(module, onednn=False))
    return engines


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use as many threads as the session, and put its own number back."""
    torch = import_extra("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def bind(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The tensors as forward()'s arguments; ``hx_0`` and ``hx_1`` are the items of a tuple hx,
    ``batch_tokens`` is a key of a dict batch."""
    parameters = list(inspect.signature(module.forward).parameters)
    nested = [parameter for parameter in parameters if parameter not in tensors]
    owners = {name: name if name in parameters else _owner(name, nested) for name in tensors}
    unused = [name for name, owner in owners.items() if owner is None]
    if unused:
        raise InputError(
            f"forward() of {type(module).__name__} must take the graph's inputs, "
            f"it does not take {', '.join(unused)}. Give the module that was exported."
        )
    arguments: dict[str, Any] = {}
    for parameter in parameters:
        below = {
            name.removeprefix(parameter).removeprefix("_"): tensors[name]
            for name, owner in owners.items()
            if owner == parameter
        }
        if below:
            arguments[parameter] = _nest(below)
    return arguments


def _owner(name: str, parameters: Sequence[str]) -> str | None:
    """The longest of ``parameters`` that ``name`` is a part of."""
    owners = [parameter for parameter in parameters if name.startswith(f"{parameter}_")]
    return max(owners, key=len, default=None)


def _nest(below: Mapping[str, Any]) -> Any:
    """One tensor; items numbered from 0 as a tuple, of tensors or tuples; a dict by key."""
    if "" in below:
        return below[""]
    if not all(name.partition("_")[0].isdecimal() for name in below):
        return dict(below)
    items: dict[int, dict[str, Any]] = {}
    for name, tensor in below.items():
        place, _, rest = name.partition("_")
        items.setdefault(int(place), {})[rest] = tensor
    return tuple(_nest(items[place]) for place in sorted(items))


def require_agreement(engines: Sequence[Engine], feed: Arrays) -> None:
    """Raise VerificationError unless every engine gives the first one's answers: a faster wrong
    answer is no measurement."""
    first, *others = engines
    expected = _answers(first, feed)
    for engine in others:
        found = _answers(engine, feed)
        if [array.shape for array in found] != [array.shape for array in expected]:
            raise _disagreement(first, engine, "outputs of other shapes")
        for place, (one, other) in enumerate(zip(expected, found, strict=True)):
            scale = max(1.0, float(np.abs(one).max(initial=0)))
            error = float(np.abs(one.astype(np.float64) - other).max(initial=0)) / scale
            if not error <= AGREEMENT:
                raise _disagreement(first, engine, f"output {place} off by {error:.1e}")


def _answers(engine: Engine, feed: Arrays) -> list[np.ndarray]:
    with engine.setting():
        return engine.answers(engine.call(engine.prepare(feed)))


def _disagreement(one: Engine, other: Engine, what: str) -> VerificationError:
    return VerificationError(
        f"{one.name} and {other.name} must give the same answers to be compared, got {what}. "
        "Give the module that was exported, with its weights."
    )
