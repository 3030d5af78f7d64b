"""A bundle is whole and unchanged, or it is refused in one line."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnn_edge.bundle import MANIFEST, Bundle, write_bundle
from rnn_edge.contract import Contract, GraphContract, TensorSpec
from rnn_edge.errors import BundleError, RnnEdgeError

TENSOR = TensorSpec("x", "float32", ("batch", "sequence", 2))
CONTRACT = Contract("toy", {"model": GraphContract("model.onnx", (TENSOR,), (TENSOR,))})
EVIDENCE = {"producer": "test", "opset": 17}


def fill(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\x08\x07graph")
    (folder / "README.md").write_text("read me\n")
    for number in (0, 2, 10):
        (folder / f"test_data_set_{number}").mkdir()
        (folder / f"test_data_set_{number}" / "input_0.pb").write_bytes(bytes([number, 1, 2]))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "toy", CONTRACT, EVIDENCE, fill)


def edit(bundle: Bundle, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change bundle.json as a parsed document."""
    path = bundle.path / MANIFEST
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def refused(path: Path, match: str) -> None:
    with pytest.raises(BundleError, match=match) as caught:
        Bundle.load(path)
    assert "\n" not in str(caught.value)


def test_written_bundle_loads_with_its_contract_and_evidence(bundle: Bundle) -> None:
    loaded = Bundle.load(bundle.path)
    assert loaded.contract == CONTRACT
    assert loaded.evidence["producer"] == "test"
    assert loaded.evidence["opset"] == 17


def test_every_file_but_the_manifest_is_listed_with_its_size(bundle: Bundle) -> None:
    sizes = {name: entry["bytes"] for name, entry in bundle.evidence["files"].items()}
    assert sizes == {
        "model.onnx": 7,
        "README.md": 8,
        "test_data_set_0/input_0.pb": 3,
        "test_data_set_2/input_0.pb": 3,
        "test_data_set_10/input_0.pb": 3,
    }


def test_any_flipped_byte_in_any_file_is_refused(bundle: Bundle) -> None:
    files = [path for path in bundle.path.rglob("*") if path.is_file() and path.name != MANIFEST]
    for path in files:
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            refused(bundle.path, f"{path.name} must be the file that was exported")
        path.write_bytes(whole)
    Bundle.load(bundle.path)


@pytest.mark.parametrize("name", ["model.onnx", "README.md", "test_data_set_2/input_0.pb"])
def test_missing_file_is_refused(bundle: Bundle, name: str) -> None:
    (bundle.path / name).unlink()
    refused(bundle.path, f"{name} must be there")


def test_truncated_file_is_refused(bundle: Bundle) -> None:
    os.truncate(bundle.path / "model.onnx", 3)
    refused(bundle.path, "SHA-256 differs")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "inner/../../secret"])
def test_file_outside_the_folder_is_refused(bundle: Bundle, name: str) -> None:
    (bundle.path.parent / "secret").write_text("x")
    edit(bundle, lambda document: document["files"].update({name: {"bytes": 1, "sha256": ""}}))
    refused(bundle.path, "must lie inside it")


@pytest.mark.parametrize("name", [".", "test_data_set_0", "nul\0byte", "n" * 400])
def test_file_name_that_is_no_file_is_refused(bundle: Bundle, name: str) -> None:
    edit(bundle, lambda document: document["files"].update({name: {"bytes": 1, "sha256": ""}}))
    refused(bundle.path, "cannot be read")


def test_graph_that_is_not_among_the_checked_files_is_refused(bundle: Bundle) -> None:
    edit(bundle, lambda document: document["files"].pop("model.onnx"))
    refused(bundle.path, "must list model.onnx")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_other_format_version_is_refused(bundle: Bundle, version: Any) -> None:
    edit(bundle, lambda document: document.update(format_version=version))
    refused(bundle.path, "format_version .* must be 1")


@pytest.mark.parametrize("text", ["", "{", "[1, 2", "[" * 100_000, "\udcff"])
def test_malformed_json_is_refused(bundle: Bundle, text: str) -> None:
    (bundle.path / MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(bundle.path, "must be JSON")


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"format": "other"}'])
def test_json_of_something_else_is_refused(bundle: Bundle, text: str) -> None:
    (bundle.path / MANIFEST).write_text(text)
    refused(bundle.path, "must describe an rnn-edge bundle")


@pytest.mark.parametrize("key", ["contract", "files"])
@pytest.mark.parametrize("junk", [None, 5, "x", ["x"], {"x": "y"}])
def test_junk_in_the_manifest_is_refused(bundle: Bundle, key: str, junk: Any) -> None:
    edit(bundle, lambda document: document.update({key: junk}))
    with pytest.raises(RnnEdgeError):
        Bundle.load(bundle.path)


def test_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "has none")


def test_file_in_place_of_the_folder_is_refused(bundle: Bundle) -> None:
    refused(bundle.path / "model.onnx", "has none")


def test_golden_sets_come_in_the_order_of_their_numbers(bundle: Bundle) -> None:
    (bundle.path / "test_data_set_notes").mkdir()
    assert [path.name for path in bundle.golden_sets()] == [
        "test_data_set_0",
        "test_data_set_2",
        "test_data_set_10",
    ]


def test_unknown_graph_names_the_known_ones(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="one of model, got 'stream'"):
        bundle.graph("stream")


def test_graph_path_is_the_file_of_the_graph(bundle: Bundle) -> None:
    assert bundle.graph_path("model") == bundle.path / "model.onnx"


def test_writing_again_replaces_the_bundle_whole(bundle: Bundle) -> None:
    def fill_less(folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"new")

    write_bundle(bundle.path, CONTRACT, EVIDENCE, fill_less)
    assert sorted(path.name for path in bundle.path.iterdir()) == [MANIFEST, "model.onnx"]


def test_damaged_bundle_can_be_exported_over(bundle: Bundle) -> None:
    path = bundle.path / MANIFEST
    path.write_bytes(path.read_bytes()[:100])
    write_bundle(bundle.path, CONTRACT, EVIDENCE, fill)
    assert Bundle.load(bundle.path).contract == CONTRACT


def test_failure_while_filling_leaves_the_old_bundle(bundle: Bundle) -> None:
    def fail(folder: Path) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_bundle(bundle.path, CONTRACT, EVIDENCE, fail)
    assert Bundle.load(bundle.path).contract == CONTRACT


def test_contract_whose_graph_was_not_written_leaves_the_old_bundle(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx must be written"):
        write_bundle(bundle.path, CONTRACT, EVIDENCE, lambda folder: None)
    assert Bundle.load(bundle.path).contract == CONTRACT


@pytest.mark.parametrize("manifest", [None, "{}", '{"bundle": "webpack"}'])
def test_foreign_folder_is_never_replaced(tmp_path: Path, manifest: str | None) -> None:
    target = tmp_path / "photos"
    target.mkdir()
    (target / "cat.jpg").write_text("cat")
    if manifest is not None:
        (target / MANIFEST).write_text(manifest)
    before = sorted(target.iterdir())
    with pytest.raises(BundleError, match="holds something else"):
        write_bundle(target, CONTRACT, EVIDENCE, fill)
    assert sorted(target.iterdir()) == before
    assert (target / "cat.jpg").read_text() == "cat"


def test_foreign_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(BundleError, match="holds something else"):
        write_bundle(tmp_path / "notes", CONTRACT, EVIDENCE, fill)
    assert (tmp_path / "notes").read_text() == "mine"


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert write_bundle(tmp_path / "empty", CONTRACT, EVIDENCE, fill).name == "toy"


@pytest.mark.parametrize("place", ["file/toy", "n" * 400])
def test_place_that_cannot_be_written_is_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="must be a place to write"):
        write_bundle(tmp_path / place, CONTRACT, EVIDENCE, fill)


def test_copied_bundle_loads_from_its_new_place(bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / "copy")
    assert Bundle.load(tmp_path / "copy").contract == CONTRACT
