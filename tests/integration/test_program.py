"""What programs can read and say of a bundle, and that they are written for any other too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rnn_edge.bundle import Bundle
from rnn_edge.contract import DECODERS, FRONT_ENDS, AudioFrontEnd, Contract, TagDecoder
from rnn_edge.integration import node, program, web
from rnn_edge.integration.program import Program

UNREAD = {"front_end": AudioFrontEnd(8000)}
UNSAID = {"decoder": TagDecoder(("a", "b"))}


def test_kinds_that_programs_know_are_kinds_of_contracts() -> None:
    assert set(program.FRONT_ENDS) <= set(FRONT_ENDS)
    assert set(program.DECODERS) - {"plain"} <= set(DECODERS)


@pytest.mark.parametrize("host", [node, web])
@pytest.mark.parametrize("change", [UNREAD, UNSAID])
def test_what_a_program_cannot_read_or_say_it_leaves_to_arrays(
    text_bundle: Bundle, tmp_path: Path, host: object, change: dict[str, object]
) -> None:
    assert Program(text_bundle).kind == "characters"
    contract: Contract = replace(text_bundle.contract, **change)  # type: ignore[arg-type]
    bundle = replace(text_bundle, contract=contract)
    assert Program(bundle).kind is None
    host.write(bundle, tmp_path)  # type: ignore[attr-defined]
    names = {path.name for path in tmp_path.rglob("*.js")}
    assert "model.js" in names
    assert not {"answer.js", "decoder.js", "front_end.js"} & names
