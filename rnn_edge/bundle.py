"""The exported folder, the only hand-off between stages: read it, write it whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rnn_edge.contract import Contract, GraphContract
from rnn_edge.errors import BundleError, InputError

FORMAT = "rnn-edge-bundle"
FORMAT_VERSION = 1
MANIFEST = "bundle.json"
GOLDEN_PREFIX = "test_data_set_"


@dataclass(frozen=True)
class Bundle:
    """A folder with graphs, their contract, and the evidence that they are right.

    ``evidence`` holds what bundle.json says beside the contract: ``producer``, ``versions``,
    ``opset``, ``parity`` (the report of the export) and ``files`` (size and SHA-256 of each).
    """

    path: Path
    contract: Contract
    evidence: Mapping[str, Any]

    @classmethod
    def load(cls, path: str | Path) -> Bundle:
        """Read and check a bundle: its format, its contract, the SHA-256 of every file.

        Raises BundleError or ContractError; nothing is loaded into a runtime here.
        """
        folder = Path(path)
        manifest = _read_manifest(folder)
        evidence = {key: value for key, value in manifest.items() if key != "contract"}
        try:
            contract = Contract.from_dict(manifest["contract"])
            files = dict(manifest["files"])
        except (KeyError, TypeError, ValueError):
            raise BundleError(
                f"{folder / MANIFEST} must hold a contract and its files, it does not. "
                "Export the model again."
            ) from None
        for graph in contract.graphs.values():
            if graph.file not in files:
                raise BundleError(
                    f"{folder / MANIFEST} must list {graph.file} among its files, it does not. "
                    "Export the model again."
                )
        for name, entry in files.items():
            _check_file(folder, name, entry)
        return cls(folder, contract, evidence)

    @property
    def name(self) -> str:
        return self.contract.name

    @property
    def checksum(self) -> str:
        """SHA-256 of bundle.json, which holds those of all other files."""
        return _sha256(self.path / MANIFEST)

    def graph(self, name: str = "model") -> GraphContract:
        """The contract of one graph, ``"model"`` for the whole-sequence one."""
        if name not in self.contract.graphs:
            have = ", ".join(self.contract.graphs)
            raise BundleError(f"graph must be one of {have}, got {name!r}. Choose one of them.")
        return self.contract.graphs[name]

    def graph_path(self, name: str = "model") -> Path:
        return self.path / self.graph(name).file

    def golden_sets(self) -> list[Path]:
        """The folders of golden inputs and outputs, in order."""
        return golden_sets_in(self.path)


def open_source(source: Bundle | str | Path) -> Bundle | Path:
    """A bundle, loaded and checked, or the path of a lone file; InputError where neither is."""
    if isinstance(source, Bundle):
        return source
    path = Path(source)
    if path.is_dir():
        return Bundle.load(path)
    if not path.is_file():
        raise InputError(
            f"{path} must be a bundle folder or an .onnx file, it is not there. Correct the path."
        )
    return path


def golden_sets_in(folder: Path) -> list[Path]:
    """``test_data_set_0``, ``test_data_set_1`` and so on in ``folder``."""
    numbered = {
        int(path.name.removeprefix(GOLDEN_PREFIX)): path
        for path in folder.glob(f"{GOLDEN_PREFIX}*")
        if path.is_dir() and path.name.removeprefix(GOLDEN_PREFIX).isdecimal()
    }
    return [numbered[number] for number in sorted(numbered)]


def write_bundle(
    out_dir: str | Path,
    contract: Contract,
    evidence: Mapping[str, Any],
    fill: Callable[[Path], None],
) -> Bundle:
    """Write a bundle at ``out_dir``, replacing a bundle that is there.

    ``fill`` writes the files into the folder that it is given; bundle.json with their checksums is
    added here. Killed at any moment, ``out_dir`` is what it was before or the whole new bundle.
    Raises BundleError when the place cannot be written or holds something else.
    """
    from rnn_edge.folder import replace_folder  # a program that only reads never waits for it

    target = Path(out_dir)

    def fill_and_seal(folder: Path) -> None:
        fill(folder)
        for graph in contract.graphs.values():
            if not (folder / graph.file).is_file():
                raise BundleError(
                    f"{graph.file} must be written into the bundle, as its contract says, "
                    "it was not. Write every graph of the contract."
                )
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "contract": contract.to_dict(),
            **evidence,
            "files": {
                path.relative_to(folder).as_posix(): {
                    "bytes": path.stat().st_size,
                    "sha256": _sha256(path),
                }
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            },
        }
        text = json.dumps(manifest, ensure_ascii=False, indent=2, allow_nan=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")

    try:
        refuse_foreign_folder(target)
        replace_folder(target, fill_and_seal)
    except OSError as error:
        raise BundleError(
            f"{target} must be a place to write a folder, got: {error.strerror or error}. "
            "Choose another folder."
        ) from None
    return Bundle.load(target)


def refuse_foreign_folder(target: Path) -> None:
    """Raise BundleError when ``target`` holds something that an export must not replace."""
    if not target.exists():
        return
    if not target.is_dir() or (any(target.iterdir()) and not _holds_bundle(target)):
        raise BundleError(
            f"{target} must be a new folder, an empty one or a bundle, "
            "it holds something else. Choose another folder."
        )


def _holds_bundle(folder: Path) -> bool:
    """Whether bundle.json is one of ours; a damaged one is, since its head names the format."""
    manifest = folder / MANIFEST
    return manifest.is_file() and FORMAT.encode() in manifest.read_bytes()


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            f"bundle must be a folder with a {MANIFEST}, {folder} has none. "
            "Give the folder that `rnn-edge export` wrote."
        ) from None
    except OSError as error:
        raise BundleError(f"{path} must be readable, got: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise BundleError(f"{path} must be JSON, it is not. Export the model again.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{path} must describe an rnn-edge bundle, it does not. Export again.")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise BundleError(
            f"format_version of {path} must be {FORMAT_VERSION}, "
            f"got {manifest.get('format_version')!r}. Use the rnn-edge that wrote it."
        )
    return manifest


def _check_file(folder: Path, name: str, entry: Any) -> None:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise BundleError(f"files of a bundle must lie inside it, got {name!r}. Do not use it.")
    path = folder / name
    try:
        digest = _sha256(path)
    except (OSError, ValueError):
        raise BundleError(
            f"{path} must be there, it cannot be read. Copy the bundle again."
        ) from None
    if not isinstance(entry, dict) or digest != entry.get("sha256"):
        raise BundleError(
            f"{path} must be the file that was exported, its SHA-256 differs. "
            "Copy or export the bundle again."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
