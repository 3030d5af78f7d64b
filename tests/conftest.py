"""Shared fixtures; this file also puts tests/ on the import path (tiny_bundles)."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_bundles

from rnn_edge.bundle import Bundle


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--export-by",
        choices=["api", "command"],
        help="How tests/capture/test_collection.py exports every module.  [default: in turns]",
    )


@pytest.fixture(scope="session")
def series_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundles.write_series(tmp_path_factory.mktemp("bundles") / "series")


@pytest.fixture(scope="session")
def text_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundles.write_text(tmp_path_factory.mktemp("bundles") / "text")


@pytest.fixture(scope="session")
def image_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundles.write_image(tmp_path_factory.mktemp("bundles") / "image")


@pytest.fixture(scope="session")
def language_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundles.write_language_model(tmp_path_factory.mktemp("bundles") / "lm")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
