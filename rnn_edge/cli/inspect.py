"""`rnn-edge inspect`: what a bundle or a lone .onnx file takes and gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnn_edge.cli.options import json_option
from rnn_edge.cli.output import print_json
from rnn_edge.cli.parity import describe_rule, print_parity, print_stream_parity
from rnn_edge.cli.tables import excerpt, print_table
from rnn_edge.contract import AxisLimits, Contract, GraphContract, TensorSpec
from rnn_edge.errors import MissingExtraError

if TYPE_CHECKING:
    from rnn_edge.bundle import Bundle


@click.command("inspect")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def inspect(file: Path, as_json: bool) -> None:
    """Show the contract of FILE, a bundle or any .onnx: tensors, axes, states, limits, evidence.

    Example: rnn-edge inspect exported/reviews
    """
    found = _of_bundle(file) if file.is_dir() else _of_file(file)
    if as_json:
        print_json(found)
    else:
        _show(found)


def _of_bundle(folder: Path) -> dict[str, Any]:
    from rnn_edge.bundle import Bundle

    bundle = Bundle.load(folder)
    return {
        "path": str(folder),
        **bundle.contract.to_dict(),
        **bundle.evidence,
        "operators": _bundle_operators(bundle),
    }


def _bundle_operators(bundle: Bundle) -> dict[str, Any]:
    return {name: _content(bundle.graph_path(name))[1] for name in bundle.contract.graphs}


def _of_file(path: Path) -> dict[str, Any]:
    from rnn_edge.runtime import Session

    session = Session(path)
    about = session.native.get_modelmeta()
    opset, operators = _content(path)
    known = session.about.to_dict() if session.about else {"name": about.graph_name}
    return {
        "path": str(path),
        **known,
        "graphs": {"model": asdict(session.contract)},
        "producer": about.producer_name,
        "description": about.description,
        "opset": opset,
        "metadata": sorted(about.custom_metadata_map),
        "operators": {"model": operators},
    }


def _content(path: Path) -> tuple[dict[str, int] | None, dict[str, int] | None]:
    """Opset of each domain and number of nodes of each operator; None without the onnx package."""
    from rnn_edge.extras import import_extra

    try:
        onnx = import_extra("onnx")
    except MissingExtraError:
        return None, None
    model = onnx.load(path, load_external_data=False)
    counts: Counter[str] = Counter()
    for graph in (model.graph, *model.functions):
        _count(graph.node, counts)
    opset = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    return opset, dict(counts.most_common())


def _count(nodes: Iterable[Any], counts: Counter[str]) -> None:
    for node in nodes:
        counts[f"{node.domain}.{node.op_type}" if node.domain else node.op_type] += 1
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                _count(graph.node, counts)


def _show(found: Mapping[str, Any]) -> None:
    front_end, decoder = found.get("front_end"), found.get("decoder")
    facts = {
        "path": found["path"],
        "name": found["name"],
        "task": found.get("task"),
        "front end": _part(front_end),
        "decoder": _part(decoder),
        "producer": found.get("producer"),
        "opset": _plain(found.get("opset")),
        "versions": _plain(found.get("versions")),
    }
    print_table(("what", "value"), [(name, value) for name, value in facts.items() if value])
    contract = Contract.from_dict({"name": found["name"], "graphs": found["graphs"]})
    for name, graph in contract.graphs.items():
        click.echo()
        print_table(
            ("role", "name", "type", "limits", "meaning"),
            _graph_rows(graph),
            f"{name}: {graph.file}",
        )
        if graph.stream is not None:
            click.echo(f"stream: {describe_rule(graph.stream)}")
        operators = found["operators"].get(name)
        click.echo(
            f"operators: {_plain(operators)}"
            if operators is not None
            else "operators: not listed, that needs the onnx package"
        )
    if found.get("parity"):
        click.echo()
        print_parity(found["parity"])
    stream = found.get("stream") or {}
    if "refused" in stream:
        click.echo(f"No stream graph: {stream['refused']}")
    elif stream:
        print_stream_parity(stream)
    if "files" in found:
        click.echo()
        print_table(("file", "bytes"), _file_rows(found["files"]))


def _file_rows(files: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Size of every file, and of every folder as a whole."""
    sizes: Counter[str] = Counter()
    for name, entry in files.items():
        top, folder, _ = name.partition("/")
        sizes[top + folder] += entry["bytes"]
    return list(sizes.items())


def _graph_rows(graph: GraphContract) -> list[tuple[str, str, str, str, str]]:
    after = {pair.input: pair for pair in graph.states}
    before = {pair.output: pair.input for pair in graph.states}
    rows = []
    for role, specs in (("input", graph.inputs), ("output", graph.outputs)):
        for spec in specs:
            meaning = spec.meaning
            if role == "input" and spec.name in after:
                pair = after[spec.name]
                meaning = f"state: {pair.output} of the call before, at first {pair.initial:g}"
            elif role == "output" and spec.name in before:
                meaning = f"state: {before[spec.name]} of the next call"
            rows.append((role, spec.name, _type(spec), _limits(spec), meaning))
    rows += [("axis", axis, "", _axis(limits), "") for axis, limits in graph.axes.items()]
    return rows


def _type(spec: TensorSpec) -> str:
    return str(spec).removeprefix(f"{spec.name}: ")


def _limits(spec: TensorSpec) -> str:
    if spec.lengths_of is not None:
        least = 1 if spec.minimum is None else spec.minimum
        return f"{least:g} to the size of axis {spec.lengths_of}"
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("from", spec.minimum), ("to", spec.maximum))
        if bound is not None
    ]
    return " ".join(bounds)


def _axis(limits: AxisLimits) -> str:
    parts = [f"from {limits.minimum}"]
    if limits.maximum is not None:
        parts.append(f"to {limits.maximum}")
    if limits.trained_maximum is not None:
        parts.append(f"trained to {limits.trained_maximum}")
    return ", ".join(parts)


def _part(part: Mapping[str, Any] | None) -> str:
    """A front end or a decoder in one line; of long lists how many entries, no empty ones."""
    if part is None:
        return ""
    values = {
        key: f"{len(value)} entries"
        if isinstance(value, list | tuple) and len(value) > 12
        else value
        for key, value in part.items()
        if key != "kind" and value not in ([], ())
    }
    return f"{part['kind']}: {_plain(values)}"


def _plain(value: Any) -> str:
    """JSON values in one line, without brackets; nested tables are left to --json."""
    if isinstance(value, Mapping):
        plain = {key: item for key, item in value.items() if not isinstance(item, Mapping)}
        return ", ".join(f"{key} {_plain(item)}" for key, item in plain.items())
    if isinstance(value, list | tuple):
        return excerpt("[" + ", ".join(map(_plain, value)) + "]", 100)
    return "" if value is None else str(value)
