"""The README.md of a bundle, for the app developer: inputs, outputs, limits, state, a snippet."""

from __future__ import annotations

from collections.abc import Sequence

from rnn_edge.contract import (
    CharacterFrontEnd,
    Contract,
    GraphContract,
    ImageFrontEnd,
    LabelDecoder,
    NextCharacterDecoder,
    SeriesFrontEnd,
    TensorSpec,
    ValueDecoder,
)


def render_readme(contract: Contract) -> str:
    """Markdown that tells an app developer how to call the bundle's model."""
    graph = contract.graphs["model"]
    parts = [
        f"# {contract.name}",
        f"`{graph.file}` is a standard ONNX file: any ONNX Runtime runs it, in any language. "
        "`bundle.json` says the same as this page to a program, and `test_data_set_*` holds "
        "inputs with the right outputs, to check an app with.",
        "## Inputs\n\n" + _table(graph.inputs),
        "## Outputs\n\n" + _table(graph.outputs),
        "## Limits\n\n" + _limits(graph),
    ]
    if graph.states:
        parts.append("## State\n\n" + _states(graph))
    before_after = _front_end(contract) + _decoder(contract)
    if before_after:
        parts.append("## Before and after\n\n" + "\n".join(f"- {line}" for line in before_after))
    parts.append("## In Python\n\n```python\n" + _snippet(contract, graph) + "```")
    return "\n\n".join(parts) + "\n"


def _table(specs: Sequence[TensorSpec]) -> str:
    lines = ["| name | type | shape | meaning |", "|---|---|---|---|"]
    for spec in specs:
        shape = ", ".join(str(dim) for dim in spec.dims)
        lines.append(f"| `{spec.name}` | {spec.dtype} | [{shape}] | {_meaning(spec)} |")
    return "\n".join(lines)


def _meaning(spec: TensorSpec) -> str:
    parts = [spec.meaning] if spec.meaning else []
    if spec.lengths_of:
        parts = [
            f"{spec.meaning or 'valid steps of each row'}, 1 to the size of `{spec.lengths_of}`"
        ]
    elif spec.minimum is not None or spec.maximum is not None:
        low = "" if spec.minimum is None else f"{spec.minimum:g} or more"
        high = "" if spec.maximum is None else f"{spec.maximum:g} or less"
        parts.append(", ".join(part for part in (low, high) if part))
    return "; ".join(parts)


def _limits(graph: GraphContract) -> str:
    lines = []
    for axis, limits in graph.axes.items():
        upper = "any size" if limits.maximum is None else f"at most {limits.maximum}"
        trained = (
            f"; longer than {limits.trained_maximum} was not trained"
            if limits.trained_maximum is not None
            else ""
        )
        lines.append(f"- `{axis}`: at least {limits.minimum}, {upper}{trained}.")
    lines.append(
        "- An empty batch or sequence ends the whole process in ONNX Runtime, and NaN in an input "
        "becomes a wrong number: check both before the call."
    )
    return "\n".join(lines)


def _states(graph: GraphContract) -> str:
    lines = ["Start a sequence with the initial value; feed each output back in the next call."]
    for pair in graph.states:
        lines.append(f"- `{pair.input}`: starts at {pair.initial:g}, then `{pair.output}`.")
    return "\n".join(lines)


def _front_end(contract: Contract) -> list[str]:
    match contract.front_end:
        case CharacterFrontEnd() as front_end:
            return [
                "Text: each character becomes its place in `contract.front_end.vocabulary` of "
                f"bundle.json; one that is not there becomes {front_end.unknown}; shorter rows "
                f"are filled up with {front_end.padding}."
            ]
        case SeriesFrontEnd() as front_end:
            columns = ", ".join(front_end.columns)
            return [f"Numbers as they are measured, columns {columns}: the graph normalises them."]
        case ImageFrontEnd() as front_end:
            return [
                f"Grey images of {front_end.height} rows and {front_end.width} columns, bright on "
                f"dark, 0 to {front_end.maximum:g}: the graph scales them."
            ]
    return []


def _decoder(contract: Contract) -> list[str]:
    match contract.decoder:
        case LabelDecoder() as decoder:
            labels = ", ".join(decoder.labels)
            return [f"The largest logit wins; softmax gives probabilities. Labels: {labels}."]
        case ValueDecoder() as decoder:
            return [f"The output is in the units of {', '.join(decoder.columns)}."]
        case NextCharacterDecoder():
            return ["The logits at a step are those of the character that follows it."]
    return []


def _snippet(contract: Contract, graph: GraphContract) -> str:
    lines = [
        "import numpy as np",
        "import onnxruntime",
        "",
        f'session = onnxruntime.InferenceSession("{graph.file}")',
        "inputs = {",
    ]
    sizes = {axis: 2 if axis == "batch" else max(8, limits.minimum)
             for axis, limits in graph.axes.items()}  # fmt: skip
    for spec in graph.inputs:
        shape = [sizes.get(dim, 1) if isinstance(dim, str) else dim for dim in spec.dims]
        if spec.lengths_of:
            value = f"np.full({shape}, {sizes[spec.lengths_of]}, np.{spec.dtype})"
        else:
            value = f"np.zeros({shape}, np.{spec.dtype})"
        lines.append(f'    "{spec.name}": {value},')
    names = ", ".join(spec.name for spec in graph.outputs)
    if len(graph.outputs) == 1:
        names = f"({names},)"
    lines += ["}", f"{names} = session.run(None, inputs)", ""]
    return "\n".join(lines)
