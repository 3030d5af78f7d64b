"""Each bundle is exported once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import native_programs
import pytest
from host_bundles import (
    export_answering,
    export_byte_writer,
    export_bytes,
    export_tagger,
    export_task,
)

from rnn_edge.bundle import Bundle


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """The bundle of a task, or one of those below; each is exported once."""
    made: dict[str, Bundle] = {}

    def get(name: str) -> Bundle:
        if name not in made:
            folder = tmp_path_factory.mktemp("bundles") / name
            own = {
                "answering": export_answering,
                "tagger": export_tagger,
                "bytes": export_bytes,
                "byte-writer": export_byte_writer,
            }
            made[name] = own[name](folder) if name in own else export_task(name, folder)
        return made[name]

    return get


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """include/ and lib/ of ONNX Runtime."""
    return native_programs.runtime_folder(tmp_path_factory.mktemp("runtime") / "onnxruntime")


@pytest.fixture(scope="module")
def built(
    request: pytest.FixtureRequest,
    bundle_of: Callable[[str], Bundle],
    runtime: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """The program of a bundle for the HOST of the module, c or cpp; each is built once."""
    host: str = request.module.HOST
    place = tmp_path_factory.mktemp(host)
    return lambda name: native_programs.build(bundle_of(name), host, place / name, runtime)
