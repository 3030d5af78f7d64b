"""What programs can read and say of a bundle, and that they are written for any other too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rnn_edge.bundle import Bundle
from rnn_edge.contract import DECODERS, FRONT_ENDS
from rnn_edge.integration import node, program, web
from rnn_edge.integration.program import Program


def test_kinds_that_programs_know_are_kinds_of_contracts() -> None:
    assert set(program.FRONT_ENDS) <= set(FRONT_ENDS)
    assert set(program.DECODERS) - {"plain"} <= set(DECODERS)


@pytest.mark.parametrize("host", [node, web])
def test_what_a_program_cannot_read_or_say_it_leaves_to_arrays(
    text_bundle: Bundle, tmp_path: Path, host: object
) -> None:
    graphs = {"model": text_bundle.graph(), "pipeline": text_bundle.graph()}
    whole = replace(text_bundle, contract=replace(text_bundle.contract, graphs=graphs))
    assert Program(whole).kind == "characters"
    assert Program(text_bundle).kind is None
    host.write(text_bundle, tmp_path)  # type: ignore[attr-defined]
    names = {path.name for path in tmp_path.rglob("*.js")}
    assert "model.js" in names
    assert not {"answer.js", "decoder.js", "front_end.js", "pipeline.js", "files.js"} & names
