"""A graph, loaded and checked: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnn_edge.bundle import Bundle, open_source
from rnn_edge.contract import METADATA_KEY, Contract, GraphContract, TensorSpec
from rnn_edge.errors import ContractError, InputError
from rnn_edge.runtime.feed import Feed
from rnn_edge.runtime.probe import probe
from rnn_edge.runtime.providers import (
    create_session,
    plain_run,
    runtime_errors,
    short_message,
)
from rnn_edge.runtime.ragged import RaggedBatches
from rnn_edge.runtime.tuning import Tuning, load_quantised, read_tuning

_DTYPE_OF = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    "tensor(string)": "string",
} | {
    f"tensor({kind}{bits})": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}

# Graphs that compute one step at a time.
_OF_STEPS = ("step", "generate")


class Session:
    """One graph of a bundle, or a lone .onnx file, ready to run; safe to share between threads.

    ``source`` is a Bundle, a bundle's folder or an .onnx file. A bundle's checksums make it
    trusted; a lone file is first loaded in a child process with limits on time and memory, because
    a hostile one can kill the process that loads it. ``trusted=True`` leaves that out, for files
    that the caller has just written. ``graph`` names a graph of the bundle; ``threads`` defaults
    to what `rnn-edge tune` has found here, else to providers.default_threads; ``groups=False`` runs
    rows of different lengths in one call (see ``run``); ``options`` may hold "arena", "pattern"
    and "spinning", which pay on some machines (what tune has found, else usual_options()). Where
    tune, given a budget, has found the int8 bundle beside this one faster here, its "model" runs in
    the place of this one's; ``quantised=False`` keeps to this bundle's own graphs.

    Raises BundleError, ContractError, InputError or ProviderError.
    """

    def __init__(
        self,
        source: Bundle | str | Path,
        provider: str = "cpu",
        *,
        graph: str = "model",
        threads: int | None = None,
        groups: bool | None = None,
        options: Sequence[str] | None = None,
        trusted: bool = False,
        quantised: bool = True,
    ) -> None:
        opened = open_source(source)
        self.bundle = opened if isinstance(opened, Bundle) else None
        tuned = read_tuning(self.bundle) if self.bundle and provider == "cpu" else Tuning()
        runs = self.bundle
        if self.bundle and tuned.quantised and graph == "model":
            other = load_quantised(self.bundle, tuned.quantised) if quantised else None
            # What was the fastest for those graphs says nothing of these.
            runs, tuned = (other, tuned) if other else (self.bundle, Tuning())
        threads = tuned.threads if threads is None else threads
        groups = tuned.groups if groups is None else groups
        if options is None:
            usual = usual_options(runs, graph) if runs else ()
            options = usual if tuned.options is None else tuned.options
        self.provider = provider
        if runs is not None:
            self.path = runs.graph_path(graph)
            declared: GraphContract | None = runs.graph(graph)
        else:
            self.path = Path(str(source))
            declared = None
            if not trusted:
                probe(self.path)
        #: The onnxruntime.InferenceSession itself, for measurements; it checks nothing.
        self.native = create_session(self.path, provider, threads, options)
        metadata = self.native.get_modelmeta().custom_metadata_map
        #: What is known beyond the graph (front end, decoder); None for a file from elsewhere.
        self.about: Contract | None = (
            self.bundle.contract if self.bundle else Contract.from_metadata(metadata)
        )
        #: The tensors, axes and states of the graph.
        self.contract: GraphContract = declared or _own_contract(self.native, metadata, self.path)
        _check_agreement(self.contract, self.native, self.path)
        self._feed = Feed(self.contract)
        self._ragged = None if groups is False else RaggedBatches.of(self.contract)
        self._output_names = [spec.name for spec in self.contract.outputs]
        self._run_native = plain_run(self.native, self._output_names)

    def run(self, *arrays: Any) -> list[np.ndarray]:
        """Run once: ``run({name: array})`` or ``run(array, ...)`` in the contract's order.

        State inputs may be left out; they then start at their initial value. Gives the outputs in
        the contract's order. Where the contract is ``ragged``, rows of different lengths are run in
        a few groups of alike lengths, with the same answers. Raises InputError when an array does
        not fit the contract; warns with LongSequenceWarning above the trained length.
        """
        feed = self.fill(*arrays)
        if self._ragged is not None:
            joined = self._ragged.run(feed, self._run_once)
            if joined is not None:
                return joined
        return self._run_once(feed)

    def _run_once(self, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            outputs: list[np.ndarray] = self._run_native(feed)
        except runtime_errors() as error:
            raise InputError(
                f"{self.path.name} must run on these inputs, ONNX Runtime refused: "
                f"{short_message(error)}. Check the inputs against `rnn-edge inspect`."
            ) from None
        return outputs

    def fill(self, *arrays: Any) -> dict[str, np.ndarray]:
        """Every input that ``run`` would give to ONNX Runtime for ``arrays``, by name."""
        given = arrays[0] if len(arrays) == 1 and isinstance(arrays[0], Mapping) else arrays
        return self._feed.build(given)

    def run_named(self, *arrays: Any) -> dict[str, np.ndarray]:
        """As ``run``, the outputs by name."""
        return dict(zip(self._output_names, self.run(*arrays), strict=True))


def usual_options(bundle: Bundle, graph: str) -> tuple[str, ...]:
    """Options of a session where nothing was wished or tuned.

    Layers that compute with int8 as nodes of their own ask for many small buffers: where shapes do
    not change from step to step, their places are found once.
    """
    nodes = (bundle.evidence.get("quantization") or {}).get("nodes", {})
    return ("pattern",) if graph in _OF_STEPS and nodes.get(graph) else ()


def _own_contract(native: Any, metadata: Mapping[str, str], path: Path) -> GraphContract:
    """The contract that a lone file carries, or one inferred from its inputs and outputs."""
    if METADATA_KEY in metadata:
        return GraphContract.from_json(metadata[METADATA_KEY])
    return GraphContract(
        path.name,
        tuple(_inferred(node, path) for node in native.get_inputs()),
        tuple(_inferred(node, path) for node in native.get_outputs()),
    )


def _inferred(node: Any, path: Path) -> TensorSpec:
    if node.type not in _DTYPE_OF:
        raise InputError(
            f"inputs and outputs of {path} must be tensors of numbers, booleans or strings, "
            f"{node.name} is {node.type}. Use another file."
        )
    dims = (
        dim if isinstance(dim, int | str) and dim not in ("", -1) else f"{node.name}.{place}"
        for place, dim in enumerate(node.shape)
    )
    return TensorSpec(node.name, _DTYPE_OF[node.type], tuple(dims))


def _check_agreement(contract: GraphContract, native: Any, path: Path) -> None:
    pairs = (
        ("inputs", contract.inputs, native.get_inputs()),
        ("outputs", contract.outputs, native.get_outputs()),
    )
    for what, specs, nodes in pairs:
        declared = [(spec.name, spec.dtype, len(spec.dims)) for spec in specs]
        found = [(node.name, _DTYPE_OF.get(node.type), len(node.shape)) for node in nodes]
        if declared != found:
            raise ContractError(
                f"{what} of {path} must be those of its contract, {_listing(declared)}; "
                f"got {_listing(found)}. Export the model again."
            )


def _listing(tensors: list[Any]) -> str:
    return ", ".join(f"{name}: {dtype} of {rank} axes" for name, dtype, rank in tensors)
