"""The JavaScript that Node and the browser share: feed checks, streams, golden data."""

from __future__ import annotations

from rnn_edge.integration.program import TEMPLATES, Program
from rnn_edge.rendering import render

_SHARED = ("bundle.js", "feed.js", "model.js", "self_test.js", "tensor_file.js")


def library(program: Program) -> dict[str, str]:
    """The text of each file by its name; what stands around the graph is that of the contract."""
    place = TEMPLATES / "javascript"
    sources = {name: name for name in _SHARED}
    if program.kind == "series":
        sources["front_end.js"] = "front_ends/series.js"
        sources["decoder.js"] = f"decoders/{program.decoder_kind}.js"
        if program.decoder_kind == "labels":
            sources["softmax.js"] = "decoders/softmax.js"
    elif program.kind is not None:
        sources["pipeline.js"] = "pipeline.js"
    if program.generates:
        sources["generation.js"] = "generation.js"
    files = {name: (place / source).read_text("utf-8") for name, source in sources.items()}
    if program.kind == "series":
        files["answer.js"] = render(place / "answer.js.jinja", program.values())
    return files
