"""What stays the same while a generator writes: a source, its lengths, a picture."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnn_edge.contract import GraphContract

Arrays = dict[str, np.ndarray]


def repeat_kept(contract: GraphContract, golden: Mapping[str, np.ndarray], rows: int) -> Arrays:
    """Those of a generator's inputs, for so many ``rows``: the rows of ``golden`` again and again.

    ``contract`` is the generator's, whose first inputs are ids and their lengths.
    """
    others = {contract.inputs[0].name, "lengths", *contract.state_inputs}
    found = {}
    for spec in contract.inputs:
        if spec.name in others or spec.default is not None:
            continue
        whole = np.asarray(golden[spec.name])
        if "batch" in spec.dims:
            whole = whole.take(range(rows), spec.dims.index("batch"), mode="wrap")
        found[spec.name] = whole
    return found
