"""The clean-up that every graph goes through: constants folded, dead and idle nodes removed."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from rnn_edge.graphs.double_convolutions import ComposeDoubleConvolutions
from rnn_edge.graphs.double_norms import ComposeDoubleNorms
from rnn_edge.graphs.double_scales import SetScalesApart
from rnn_edge.graphs.flag_choices import ReplaceFlagChoices
from rnn_edge.graphs.half_precision import ReplaceHalfMatMuls, WidenHalfScatters
from rnn_edge.graphs.reduced_axes import CountAxesFromFront
from rnn_edge.graphs.rewriting import rewrite
from rnn_edge.graphs.zero_state import DropZeroStates

# Weights of any size are folded: reordering gates at run time would cost at every call.
_NO_LIMIT = 2**62
# Folding opens what can be rewritten, and the other way round.
_ROUNDS = 2


def clean(model: ir.Model) -> None:
    """Fold constants, drop zero states, merge equal nodes, remove what is not used."""
    _optimize(model)
    DropZeroStates()(model)
    CountAxesFromFront()(model)
    # Each use of the lengths casts them, each packing reads the same sizes again.
    common.CommonSubexpressionEliminationPass()(model)
    replaced = ReplaceFlagChoices()(model).modified
    composed = [
        pass_(model).modified for pass_ in (ComposeDoubleConvolutions(), ComposeDoubleNorms())
    ]
    if any(composed) or replaced:
        common.NameFixPass()(model)
    _optimize(model)
    ReplaceHalfMatMuls()(model)
    changed = [pass_(model).modified for pass_ in (SetScalesApart(), WidenHalfScatters())]
    if any(changed):
        common.NameFixPass()(model)
    common.RemoveUnusedOpsetsPass()(model)


def _optimize(model: ir.Model) -> None:
    common.InlinePass()(model)
    for _ in range(_ROUNDS):
        folded = optimizer.fold_constants_ir(
            model, input_size_limit=_NO_LIMIT, output_size_limit=_NO_LIMIT
        )
        rewritten = rewrite(model)
        removed = [
            common.RemoveUnusedNodesPass()(model),
            common.RemoveUnusedFunctionsPass()(model),
            common.RemoveUnusedOpsetsPass()(model),
        ]
        if not (rewritten or any(result.modified for result in (folded, *removed))):
            break
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.LiftSubgraphInitializersToMainGraphPass()(model)
    common.DeduplicateInitializersPass()(model)
    common.CommonSubexpressionEliminationPass()(model)
    common.OutputFixPass()(model)
    common.NameFixPass()(model)
