"""What a graph takes and gives: tensors, axes, states, front end, decoder.

A Contract is plain data. It is written into bundle.json and, per graph, into the .onnx file's
metadata_props, so that a lone file still explains itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from rnn_edge.errors import ContractError
from rnn_edge.kinds import (
    DECODERS,
    FRONT_ENDS,
    Decoder,
    FrontEnd,
)
from rnn_edge.kinds import (
    AudioFrontEnd as AudioFrontEnd,
)
from rnn_edge.kinds import (
    ByteFrontEnd as ByteFrontEnd,
)
from rnn_edge.kinds import (
    CharacterFrontEnd as CharacterFrontEnd,
)
from rnn_edge.kinds import (
    ClipFrontEnd as ClipFrontEnd,
)
from rnn_edge.kinds import (
    CtcDecoder as CtcDecoder,
)
from rnn_edge.kinds import (
    ImageFrontEnd as ImageFrontEnd,
)
from rnn_edge.kinds import (
    LabelDecoder as LabelDecoder,
)
from rnn_edge.kinds import (
    NextCharacterDecoder as NextCharacterDecoder,
)
from rnn_edge.kinds import (
    PictureFrontEnd as PictureFrontEnd,
)
from rnn_edge.kinds import (
    SeriesFrontEnd as SeriesFrontEnd,
)
from rnn_edge.kinds import (
    TagDecoder as TagDecoder,
)
from rnn_edge.kinds import (
    TextDecoder as TextDecoder,
)
from rnn_edge.kinds import (
    ValueDecoder as ValueDecoder,
)
from rnn_edge.kinds import (
    is_written as is_written,
)

Record = TypeVar("Record")

# In an .onnx file's metadata_props: its contract, and what its bundle says beyond graphs.
METADATA_KEY = "rnn_edge.contract"
ABOUT_KEY = "rnn_edge.about"
DTYPES = (
    "float16", "float32", "float64", "bool", "string",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph.

    ``dims`` holds a size for a fixed axis and a name for a dynamic one; axes of one name have one
    size in one call. ``minimum`` and ``maximum`` bound the values (token ids, say), both included.
    ``lengths_of`` names the axis whose valid length, per row, this integer tensor holds; an output,
    of the other outputs.
    ``splits`` names the axis along which rows stand one after the other: this integer tensor holds
    the size of each, zeros among them, and they add up to the axis.
    ``default``, of a single number, is what an app gives that has no wish.
    """

    name: str
    dtype: str
    dims: tuple[int | str, ...]
    meaning: str = ""
    minimum: float | None = None
    maximum: float | None = None
    lengths_of: str | None = None
    default: float | None = None
    splits: str | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ContractError(
                f"dtype of tensor {self.name!r} must be one of {', '.join(DTYPES)}, "
                f"got {self.dtype!r}. Correct the contract."
            )

    def __str__(self) -> str:
        dims = ", ".join(str(dim) for dim in self.dims)
        return f"{self.name}: {self.dtype}[{dims}]"


@dataclass(frozen=True)
class StatePair:
    """An input that takes what an output gave in the call before; ``initial`` starts a sequence.

    ``batch_axis`` is None for a state that all rows of a batch share, such as a step counter.
    """

    input: str
    output: str
    batch_axis: int | None
    initial: float = 0.0


@dataclass(frozen=True)
class AxisLimits:
    """The sizes that a dynamic axis may have; above ``trained_maximum`` it runs with a warning."""

    minimum: int = 1
    maximum: int | None = None
    trained_maximum: int | None = None


@dataclass(frozen=True)
class StreamRule:
    """How a graph is called chunk by chunk, its states carried from one call to the next.

    ``axis`` is the axis of time of a chunk. Inputs without it, states apart, are asked for when a
    stream starts and may stay as they are. What comes out is, over all calls, what the model gives
    for the whole sequence, less its last ``latency`` frames. ``reset`` names the boolean input that
    is True for the rows that start anew in this call; without it a row starts anew when its states
    have their initial values. With ``in_step``, all rows of a batch must be at the same step.
    ``frame_rate`` is how many frames a second a stream in real time brings, where that is known.
    """

    axis: str
    latency: int = 0
    reset: str | None = None
    in_step: bool = False
    frame_rate: float | None = None

    def __post_init__(self) -> None:
        if self.frame_rate is not None and not 0 < self.frame_rate < math.inf:
            raise ContractError(
                f"frame_rate must be a number above 0, got {self.frame_rate}. "
                "Give the frames of a second."
            )


@dataclass(frozen=True)
class GraphContract:
    """One .onnx file: its tensors in the file's order, state pairs, limits of dynamic axes.

    ``stream`` is set for a graph that takes a sequence in chunks. ``ragged`` says that every row
    may be run cut to its length: its answer is the same, and what outputs hold beyond it is one and
    the same frame for all rows.
    """

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[StatePair, ...] = ()
    axes: Mapping[str, AxisLimits] = field(default_factory=dict)
    stream: StreamRule | None = None
    ragged: bool = False

    def input(self, name: str) -> TensorSpec:
        return _named(self.inputs, name, "input")

    def output(self, name: str) -> TensorSpec:
        return _named(self.outputs, name, "output")

    @property
    def state_inputs(self) -> frozenset[str]:
        return frozenset(pair.input for pair in self.states)

    @property
    def counts(self) -> TensorSpec | None:
        """The output that says how many steps of each row are answers, where one does."""
        return next((spec for spec in self.outputs if spec.lengths_of is not None), None)

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> GraphContract:
        try:
            return _graph_from(json.loads(text))
        except _MALFORMED as error:
            raise _malformed(error) from None


@dataclass(frozen=True)
class Contract:
    """Everything an app must know to call a bundle's graphs."""

    name: str
    graphs: Mapping[str, GraphContract]
    task: str | None = None
    front_end: FrontEnd | None = None
    decoder: Decoder | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Contract:
        """Read what ``to_dict`` gave; unknown, missing or mistyped fields raise ContractError."""
        try:
            graphs = {name: _graph_from(graph) for name, graph in data["graphs"].items()}
            front_end = front_end_from_dict(data.get("front_end"))
            decoder = decoder_from_dict(data.get("decoder"))
            parts = {"graphs": graphs, "front_end": front_end, "decoder": decoder}
            return _record(cls, {**data, **parts})
        except _MALFORMED as error:
            raise _malformed(error) from None

    def metadata(self, graph: GraphContract) -> dict[str, str]:
        """What the file of ``graph`` carries in its metadata_props, so that it explains itself."""
        about = {key: value for key, value in self.to_dict().items() if key != "graphs"}
        return {METADATA_KEY: graph.to_json(), ABOUT_KEY: json.dumps(about, ensure_ascii=False)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Contract | None:
        """Read what ``metadata`` gave, the graph as "model"; None for a file without."""
        if METADATA_KEY not in metadata or ABOUT_KEY not in metadata:
            return None
        try:
            graph = json.loads(metadata[METADATA_KEY])
            return cls.from_dict({**json.loads(metadata[ABOUT_KEY]), "graphs": {"model": graph}})
        except _MALFORMED as error:
            raise _malformed(error) from None


def front_end_from_dict(data: Mapping[str, Any] | None) -> FrontEnd | None:
    return _variant(FRONT_ENDS, data, "front_end")


def decoder_from_dict(data: Mapping[str, Any] | None) -> Decoder | None:
    return _variant(DECODERS, data, "decoder")


def _variant(kinds: dict[str, Any], data: Mapping[str, Any] | None, what: str) -> Any:
    if data is None:
        return None
    try:
        kind = data.get("kind")
        if kind in kinds:
            return _record(kinds[kind], data)
    except _MALFORMED as error:
        raise _malformed(error) from None
    raise ContractError(
        f"kind of {what} must be one of {', '.join(kinds)}, got {kind!r}. "
        f"Use a newer rnn-edge, or correct bundle.json."
    )


def _graph_from(data: Mapping[str, Any]) -> GraphContract:
    parts = {
        "inputs": tuple(_record(TensorSpec, item) for item in data["inputs"]),
        "outputs": tuple(_record(TensorSpec, item) for item in data["outputs"]),
        "states": tuple(_record(StatePair, item) for item in data.get("states", ())),
        "axes": {name: _record(AxisLimits, item) for name, item in data.get("axes", {}).items()},
        "stream": _record(StreamRule, data["stream"]) if data.get("stream") is not None else None,
    }
    return _record(GraphContract, {**data, **parts})


def _record(cls: type[Record], data: Mapping[str, Any]) -> Record:
    """Build a dataclass from parsed JSON, whose lists become tuples; holds the fields' types."""
    known = get_type_hints(cls)
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ContractError(
            f"fields of {cls.__name__} must be among {', '.join(known)}, "
            f"got {', '.join(unknown)}. Use a newer rnn-edge, or correct bundle.json."
        )
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    for name, value in values.items():
        if not _fits(value, known[name]):
            raise ContractError(
                f"{name} of {cls.__name__} must be of type {_type_name(known[name])}, "
                f"got {value!r:.80}. Correct the contract, or export the model again."
            )
    return cls(**values)


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if origin is UnionType:
        return any(_fits(value, argument) for argument in arguments)
    if hint in (int, float):
        # A whole float may come back from JSON as an int; True is an int to Python alone.
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)


def _named(tensors: tuple[TensorSpec, ...], name: str, kind: str) -> TensorSpec:
    for tensor in tensors:
        if tensor.name == name:
            return tensor
    names = ", ".join(tensor.name for tensor in tensors)
    raise ContractError(f"{kind} must be one of {names}, got {name!r}. Correct the name.")


# What reading a malformed document raises; RecursionError comes from a deeply nested one.
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


def _malformed(error: Exception) -> ContractError:
    return ContractError(
        f"contract must follow the bundle schema, got {type(error).__name__}: {error}. "
        "Export the model again."
    )
