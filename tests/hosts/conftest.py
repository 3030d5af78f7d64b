"""Each bundle is exported once a session."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from host_bundles import export_tagger, export_task

from rnn_edge.bundle import Bundle


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """The bundle of a task, or ``tagger``; each is exported once."""
    made: dict[str, Bundle] = {}

    def get(name: str) -> Bundle:
        if name not in made:
            folder = tmp_path_factory.mktemp("bundles") / name
            made[name] = export_tagger(folder) if name == "tagger" else export_task(name, folder)
        return made[name]

    return get
