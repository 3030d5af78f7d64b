"""Are whole texts those that the generating graph writes from the start to the end?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnn_edge.contract import TensorSpec, TextDecoder
from rnn_edge.errors import VerificationError
from rnn_edge.graphs.generation.model import name_beside
from rnn_edge.runtime import Session

# Both graphs compute the same nodes, packed otherwise.
_NEAR = 1e-4


def check_answers(
    texts: Session, generate: Session, golden: Mapping[str, np.ndarray], decoder: TextDecoder
) -> None:
    """Compare ``texts`` with ``generate``, which is held against the eager module elsewhere.

    What they are about is taken from ``golden``, inputs of ``generate``. Raises VerificationError.
    """
    given = {spec.name: golden[name_beside(spec)] for spec in texts.contract.inputs}
    about = {
        spec.name: np.moveaxis(given[spec.name], _place(generate, spec), 0)
        for spec in texts.contract.inputs
    }
    rows = len(golden["lengths"])
    beams = {"beams": decoder.beams} if decoder.beams > 1 else {}
    feed = {
        generate.contract.inputs[0].name: np.full((rows, 1), decoder.start),
        "lengths": np.ones(rows, np.int64),
        "max_new": decoder.steps,
        "temperature": 0.0,
        "end": decoder.end,
        **beams,
        **{name_beside(spec): given[spec.name] for spec in texts.contract.inputs},
    }
    right, found = generate.run_named(feed), texts.run_named(about)
    names = {"written": "generated", "log_probabilities": "log_probabilities"}
    for name, other in names.items():
        width = right[other].shape[1]
        written, rest = np.split(found[name], [width], axis=1)
        filled = np.all(rest == (decoder.end if name == "written" else 0))
        same = np.allclose(written, right[other], rtol=_NEAR, atol=_NEAR) and filled
        if not same:
            raise VerificationError(
                f"{name} of whole texts must be what generate.onnx gives from the start, "
                f"{right[other].tolist()!r:.60}, got {found[name].tolist()!r:.60}. Nothing that is "
                "wrong is to be shipped: report the model."
            )


def _place(generate: Session, spec: TensorSpec) -> int:
    """Where ``generate`` has the rows of what whole texts have rows first."""
    dims = generate.contract.input(name_beside(spec)).dims
    return dims.index("batch") if "batch" in dims else 0
