"""The README.md of a bundle, for the app developer: inputs, outputs, limits, state, a snippet."""

from __future__ import annotations

from collections.abc import Sequence

from rnn_edge.contract import (
    AudioFrontEnd,
    ByteFrontEnd,
    CharacterFrontEnd,
    ClipFrontEnd,
    Contract,
    CtcDecoder,
    GraphContract,
    ImageFrontEnd,
    LabelDecoder,
    NextCharacterDecoder,
    PictureFrontEnd,
    SeriesFrontEnd,
    StreamRule,
    TagDecoder,
    TensorSpec,
    TextDecoder,
    ValueDecoder,
)

# Steps of the two rows that stand one after the other in a snippet.
_JOINED = 16


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
    pipeline = contract.graphs.get("pipeline")
    if pipeline is not None:
        parts.append("## Raw input to answer in one run\n\n" + _whole(pipeline))
        parts.append("```python\n" + _snippet(pipeline) + "```")
    parts.append("## In Python\n\n```python\n" + _snippet(graph) + "```")
    stream = contract.graphs.get("stream")
    if stream is not None and stream.stream is not None:
        parts.append("## Streaming\n\n" + _state_rule(stream, stream.stream))
        parts.append("```python\n" + _stream_snippet(stream, stream.stream) + "```")
        step = contract.graphs.get("step")
        if step is not None:
            parts.append(f"`{step.file}` takes the same for single steps, and is faster at them.")
    generate = contract.graphs.get("generate")
    if generate is not None:
        parts.append("## Generating\n\n" + _generating(generate))
        parts.append("```python\n" + _snippet(generate) + "```")
    return "\n\n".join(parts) + "\n"


def _whole(graph: GraphContract) -> str:
    """What an app gives to the graph that has front end and decoder inside."""
    joined = [spec for spec in graph.inputs if spec.splits]
    lines = [f"`{graph.file}` has all of that inside:", "", _table(graph.inputs), ""]
    lines += [_table(graph.outputs), ""]
    lines += [
        f"- `{graph.inputs[0].name}` holds all rows without padding, and `{spec.name}` the size of "
        "each."
        for spec in joined
    ]
    lines += [
        "- A row that is empty, shorter than the model takes, or holds NaN or infinity has no "
        "answer: empty strings and NaN. No row depends on another.",
        "- Check: `pipeline/test_data_set_0` is a call with the right answers.",
    ]
    return "\n".join(lines)


def _generating(graph: GraphContract) -> str:
    options = "; ".join(
        f"`{spec.name}` {spec.default:g}" for spec in graph.inputs if spec.default is not None
    )
    states = "; ".join(f"`{pair.output}` to `{pair.input}`" for pair in graph.states)
    return "\n".join(
        [
            f"`{graph.file}` reads prompts and writes what follows, all of it in one run:",
            "",
            "- Prompts of different lengths share a run, filled up with any valid id; no row "
            "depends on another.",
            f"- Options, where there is no wish: {options}.",
            "- A seed writes the same ids on every runtime; temperature 0 takes the likeliest.",
            f"- To go on, give {states}, and the last id that was written as the prompt.",
            "- Check: `generate/test_data_set_0` is a call with the right answers.",
        ]
    )


def _table(specs: Sequence[TensorSpec]) -> str:
    lines = ["| name | type | shape | meaning |", "|---|---|---|---|"]
    for spec in specs:
        shape = ", ".join(str(dim) for dim in spec.dims)
        lines.append(f"| `{spec.name}` | {spec.dtype} | [{shape}] | {_meaning(spec)} |")
    return "\n".join(lines)


def _meaning(spec: TensorSpec) -> str:
    parts = [spec.meaning] if spec.meaning else []
    if spec.lengths_of:
        least = 1 if spec.minimum is None else spec.minimum
        told = spec.meaning or "valid steps of each row"
        parts = [f"{told}, {least:g} to the size of `{spec.lengths_of}`"]
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
        case ByteFrontEnd() as front_end:
            return [
                f"Text: each byte of its UTF-8 becomes its value and {front_end.offset}; shorter "
                f"rows are filled up with {front_end.padding}."
            ]
        case SeriesFrontEnd() as front_end:
            columns = ", ".join(front_end.columns)
            return [f"Numbers as they are measured, columns {columns}: the graph normalises them."]
        case ImageFrontEnd() as front_end:
            return [
                f"Grey images of {front_end.height} rows and {front_end.width} columns, bright on "
                f"dark, 0 to {front_end.maximum:g}: the graph scales them."
            ]
        case ClipFrontEnd() as front_end:
            return [
                f"Grey frames scaled to {front_end.height} rows and {front_end.width} columns, "
                f"0 (black) to {front_end.maximum:g}: the graph scales the values."
            ]
        case PictureFrontEnd() as front_end:
            return [
                f"Pictures scaled to {front_end.height} rows and {front_end.width} columns, red, "
                f"green and blue one after the other, 0 to {front_end.maximum:g}: the graph scales "
                "the values."
            ]
        case AudioFrontEnd() as front_end:
            return [
                f"Sound: samples of one channel from -1 to 1, {front_end.rate} a second; resample "
                "other rates, mix several channels down. The graph computes the features"
                f"{f', `{front_end.features}`' if front_end.features else ''}."
            ]
    return []


def _decoder(contract: Contract) -> list[str]:
    match contract.decoder:
        case LabelDecoder() as decoder:
            labels = ", ".join(decoder.labels)
            return [f"The largest logit wins; softmax gives probabilities. Labels: {labels}."]
        case ValueDecoder() as decoder:
            return [f"The output is in the units of {', '.join(decoder.columns)}."]
        case NextCharacterDecoder() as decoder:
            said = ["The logits at a step are those of the character that follows it."]
            if decoder.styles:
                said.append(
                    "The text is a tune in ABC notation up to an empty line; begin with a line's "
                    f"end, R:, and its style, one of {', '.join(decoder.styles)}."
                )
            return said
        case TagDecoder() as decoder:
            labels = ", ".join(decoder.labels)
            return [f"`tags` are places among the labels, the first is 0. Labels: {labels}."]
        case TextDecoder() as decoder if decoder.start is not None:
            never = ", ".join(map(str, decoder.never))
            return [
                "Text: the first output holds logits of the next place in "
                "`contract.decoder.vocabulary` of bundle.json. A text begins with "
                f"{decoder.start}, ends before {decoder.end}, and is {decoder.steps} places long "
                f"at most. Places that never come: {never or 'none'}. The likeliest of "
                f"{decoder.beams} in view is the answer; `pipeline.onnx` finds it."
            ]
        case TextDecoder() as decoder:
            return [
                "Text: the first output holds places in `contract.decoder.vocabulary` of "
                f"bundle.json; join the characters before the first {decoder.end}."
            ]
        case CtcDecoder() as decoder:
            labels = ", ".join(label or "blank" for label in decoder.labels)
            return [
                "Text: take the likeliest label of each frame; leave out those that repeat the "
                f"frame before, then label {decoder.blank}, the blank; join the others. "
                f"Labels: {labels}."
            ]
    return []


def _snippet(graph: GraphContract) -> str:
    lines = [
        "import numpy as np",
        "import onnxruntime",
        "",
        f'session = onnxruntime.InferenceSession("{graph.file}")',
        "inputs = {",
    ]
    sizes = {axis: 2 if axis == "batch" else max(8, limits.minimum)
             for axis, limits in graph.axes.items()}  # fmt: skip
    joined = {spec.splits for spec in graph.inputs}
    for spec in graph.inputs:
        shape = [
            dim if isinstance(dim, int) else _JOINED if dim in joined else sizes.get(dim, 1)
            for dim in spec.dims
        ]
        if spec.dtype == "string":
            value = 'np.array(["a text", "another"], object)'
        elif spec.splits:
            value = f"np.array({[_JOINED // 2] * 2}, np.{spec.dtype})"
        elif spec.lengths_of:
            value = f"np.full({shape}, {sizes.get(spec.lengths_of, 1)}, np.{spec.dtype})"
        elif spec.default:
            value = f"np.array({spec.default:g}, np.{spec.dtype})"
        elif _initial(graph, spec):
            value = f"np.full({shape}, {_initial(graph, spec):g}, np.{spec.dtype})"
        else:
            value = f"np.zeros({shape}, np.{spec.dtype})"
        lines.append(f'    "{spec.name}": {value},'.replace("np.bool)", "bool)"))
    # A dot belongs to the names of layers, not to those of variables.
    names = ", ".join(spec.name.replace(".", "_") for spec in graph.outputs)
    if len(graph.outputs) == 1:
        names = f"({names},)"
    lines += ["}", f"{names} = session.run(None, inputs)", ""]
    return "\n".join(lines)


def _state_rule(graph: GraphContract, rule: StreamRule) -> str:
    """What an app must do from call to call, in five lines."""
    special = {*graph.state_inputs, *([rule.reset] if rule.reset else [])}
    chunk = [s.name for s in graph.inputs if rule.axis in s.dims and s.name not in special]
    others = [s.name for s in graph.inputs if rule.axis not in s.dims and s.name not in special]
    pairs = [f"`{p.input}` starts at {p.initial:g}, then `{p.output}`" for p in graph.states]
    anew = (
        f"`{rule.reset}` is true for the rows that start a sequence with this call, else false; "
        "their states are the initial ones then."
        if rule.reset is not None
        else "a row starts a sequence when its states have their initial values."
    )
    rows = " All rows of a batch must be at the same step." if rule.in_step else ""
    late = (
        f"The answers lie {rule.latency} frames behind: the last ones of a sequence never come."
        if rule.latency
        else "None: each frame's answer comes with the chunk that holds it."
    )
    rate = f", {rule.frame_rate:g} a second" if rule.frame_rate is not None else ""
    time = f"`{rule.axis}`{rate}"
    once = f" Give {_listed(others)} of the whole sequence in every call." if others else ""
    return "\n".join(
        [
            f"`{graph.file}` gives the answers of the whole sequence, piece by piece:",
            "",
            f"- Chunks: {_listed(chunk)} hold the next 1 or more steps of {time}.{once}",
            f"- States: feed each output back in the next call. {'; '.join(pairs) or 'None'}.",
            f"- Start: {anew}{rows}",
            f"- Latency: {late}",
            "- Check: `stream/test_data_set_*` are consecutive calls with the right answers.",
        ]
    )


def _initial(graph: GraphContract, spec: TensorSpec) -> float:
    """What a state starts with; 0 of what is none."""
    return next((pair.initial for pair in graph.states if pair.input == spec.name), 0)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _stream_snippet(graph: GraphContract, rule: StreamRule) -> str:
    def zeros(spec: TensorSpec) -> str:
        shape = [dim if isinstance(dim, int) else 4 if dim == rule.axis else 1 for dim in spec.dims]
        # Lengths are those of what is given whole, of which there is 1 step.
        initial = 1 if spec.lengths_of else _initial(graph, spec)
        make = f"np.full({shape}, {initial:g}" if initial else f"np.zeros({shape}"
        return f'    "{spec.name}": {make}, np.{spec.dtype}),'.replace("np.bool)", "bool)")

    given = [s for s in graph.inputs if s.name not in graph.state_inputs and s.name != rule.reset]
    lines = [
        "import numpy as np",
        "import onnxruntime",
        "",
        f'session = onnxruntime.InferenceSession("{graph.file}")',
        "chunk = {",
        *(zeros(spec) for spec in given),
        "}",
        "state = {",
        *(zeros(graph.input(pair.input)) for pair in graph.states),
        "}",
        "after = {",
        *(f'    "{pair.input}": "{pair.output}",' for pair in graph.states),
        "}",
        "names = [output.name for output in session.get_outputs()]",
        "for number in range(3):",
    ]
    feed = "{**chunk, **state}"
    if rule.reset is not None:
        (rows,) = graph.input(rule.reset).dims
        shape = [rows if isinstance(rows, int) else 1]
        lines.append(f'    chunk["{rule.reset}"] = np.full({shape}, number == 0)')
    lines += [
        f"    answers = dict(zip(names, session.run(None, {feed})))",
        "    state = {name: answers[output] for name, output in after.items()}",
        "",
    ]
    return "\n".join(lines)
