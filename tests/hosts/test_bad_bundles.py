"""No host gets a program of a bundle that was changed, or that a newer version has written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from programs import change_manifest

from rnn_edge.errors import BundleError
from rnn_edge.integration import integrate
from rnn_edge.integration.integration import HOSTS

SINE = Path(__file__).parents[2] / "exported" / "sine"


@pytest.mark.parametrize("host", HOSTS)
def test_a_bundle_that_was_changed_is_refused(host: str, tmp_path: Path) -> None:
    for file in ("model.onnx", "stream.onnx", "stream/test_data_set_0/output_0.pb"):
        folder = tmp_path / file.replace("/", "-")
        shutil.copytree(SINE, folder)
        content = bytearray((folder / file).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / file).write_bytes(content)
        with pytest.raises(BundleError, match="SHA-256 differs"):
            integrate(folder, host, tmp_path / "out")
    shutil.copytree(SINE, tmp_path / "newer")
    change_manifest(tmp_path / "newer", lambda manifest: manifest.update(format_version=2))
    with pytest.raises(BundleError, match="format_version"):
        integrate(tmp_path / "newer", host, tmp_path / "out")
    assert not (tmp_path / "out").exists()
