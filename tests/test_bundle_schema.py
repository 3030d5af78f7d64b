"""The JSON Schema says what bundle.json is, no more and no less than the code."""

import copy
import json
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import tiny_bundles
import torch
from jsonschema import Draft202012Validator

import rnn_edge
from rnn_edge import contract
from rnn_edge.bundle import FORMAT, FORMAT_VERSION, MANIFEST, Bundle, write_bundle
from rnn_edge.quantization.comparison import Loss
from rnn_edge.verification.generation import GenerationReport
from rnn_edge.verification.pipeline import PipelineReport
from rnn_edge.verification.report import ChunkParity, OutputParity, ParityReport, StreamReport

SCHEMA: dict[str, Any] = json.loads(
    files("rnn_edge").joinpath("bundle.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = Draft202012Validator(SCHEMA)
RECORDS = [
    contract.Contract,
    contract.GraphContract,
    contract.TensorSpec,
    contract.StatePair,
    contract.StreamRule,
    contract.AxisLimits,
    *contract.FRONT_ENDS.values(),
    *contract.DECODERS.values(),
    ParityReport,
    OutputParity,
    StreamReport,
    ChunkParity,
    GenerationReport,
    PipelineReport,
    Loss,
]
EVIDENCE: dict[str, Any] = {
    "producer": "rnn-edge 0.1.0",
    "versions": {"torch": "2.13.0"},
    "opset": 18,
    "parity": ParityReport(
        "float64 torch", ({"batch": 2},), (OutputParity("y", 1e-8, 2e-8, 1e-6, {"batch": 2}),)
    ).to_dict(),
    "stream": StreamReport(
        ("ragged",), 0, (ChunkParity("y", 1e-8, 2e-8, 1e-6, {"batch": 2}, "ragged", True),)
    ).to_dict(),
    "generate": GenerationReport(3, 24, 1e-8, 1e-8).to_dict(),
    "pipeline": PipelineReport(3, 1e-8).to_dict(),
}
WRITERS = [
    tiny_bundles.write_series,
    tiny_bundles.write_text,
    tiny_bundles.write_image,
    tiny_bundles.write_language_model,
]


def manifest(bundle: Bundle, folder: Path) -> dict[str, Any]:
    """bundle.json of the same graphs and contract, with the evidence of an export."""

    def fill(place: Path) -> None:
        (place / "model.onnx").write_bytes(bundle.graph_path().read_bytes())

    written = write_bundle(folder, bundle.contract, EVIDENCE, fill)
    document: dict[str, Any] = json.loads((written.path / MANIFEST).read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def document(language_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return manifest(language_bundle, tmp_path_factory.mktemp("schema") / "bundle")


def test_schema_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_written_bundle_follows_the_schema(write: Any, tmp_path: Path) -> None:
    VALIDATOR.validate(manifest(write(tmp_path / "graphs"), tmp_path / "bundle"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_properties_are_the_fields_of_the_code(record: type) -> None:
    names = {field.name for field in fields(record)}
    definition = SCHEMA["$defs"][record.__name__]
    assert set(definition["properties"]) == names
    assert set(definition["required"]) == names
    assert definition["additionalProperties"] is False


def test_every_definition_is_a_record_or_used_by_one() -> None:
    assert set(SCHEMA["$defs"]) == {record.__name__ for record in RECORDS} | {"File", "Sizes"}


def test_constants_are_those_of_the_code() -> None:
    assert SCHEMA["properties"]["format"]["const"] == FORMAT
    assert SCHEMA["properties"]["format_version"]["const"] == FORMAT_VERSION
    assert tuple(SCHEMA["$defs"]["TensorSpec"]["properties"]["dtype"]["enum"]) == contract.DTYPES


@pytest.mark.parametrize("kinds", [contract.FRONT_ENDS, contract.DECODERS])
def test_kinds_are_those_of_the_code(kinds: dict[str, type]) -> None:
    for kind, record in kinds.items():
        assert SCHEMA["$defs"][record.__name__]["properties"]["kind"]["const"] == kind


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), "other"),
        (("format_version",), 2),
        (("novelty",), 1),
        (("opset",), "18"),
        (("versions", "torch"), 2.13),
        (("files",), {}),
        (("files", "../secret"), {"bytes": 1, "sha256": "0" * 64}),
        (("files", "/etc/secret"), {"bytes": 1, "sha256": "0" * 64}),
        (("files", "model.onnx", "sha256"), "0" * 63),
        (("files", "model.onnx", "bytes"), -1),
        (("contract", "graphs"), {}),
        (("contract", "graphs", "model", "inputs", 0, "dtype"), "float31"),
        (("contract", "graphs", "model", "inputs", 0, "dims"), [1.5]),
        (("contract", "graphs", "model", "states", 0, "batch_axis"), -1),
        (("contract", "graphs", "model", "axes", "batch", "maximum"), 0),
        (("contract", "front_end", "kind"), "image"),
        (("contract", "decoder", "never"), [0.5]),
        (("parity", "outputs", 0, "error"), "small"),
        (("parity", "cases", 0, "batch"), 0),
    ],
)
def test_damage_is_refused(document: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    damaged = copy.deepcopy(document)
    at = damaged
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    assert not VALIDATOR.is_valid(damaged)


def test_every_required_key_is_needed(document: dict[str, Any]) -> None:
    VALIDATOR.validate(document)
    for key in document:
        assert not VALIDATOR.is_valid({k: v for k, v in document.items() if k != key})


@pytest.mark.parametrize("name", ["model.onnx", "test_data_set_0/input_0.pb", "..data", "a..b/c"])
def test_ordinary_file_names_are_allowed(document: dict[str, Any], name: str) -> None:
    entry = {"bytes": 1, "sha256": "0" * 64}
    VALIDATOR.validate({**document, "files": {name: entry}})


def test_exported_module_follows_the_schema(tmp_path: Path) -> None:
    module = torch.nn.GRU(2, 3, batch_first=True)
    example = torch.zeros(3, 4, 2)
    bundle = rnn_edge.export(
        module, (example,), tmp_path / "gru", axes=[("batch", "sequence", None)]
    )
    VALIDATOR.validate(json.loads((bundle.path / MANIFEST).read_text(encoding="utf-8")))
