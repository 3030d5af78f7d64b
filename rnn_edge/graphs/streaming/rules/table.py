"""Which rule an operator follows."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.rules import (
    counting,
    joining,
    layout,
    loops,
    pointwise,
    recurrent,
    reductions,
    resizing,
    scans,
    scattering,
    selection,
    upsampling,
    windows,
)

Rule = Callable[[Derivation, ir.Node], None]

RULES: dict[str, Rule] = {
    **dict.fromkeys(pointwise.OPERATORS, pointwise.derive_pointwise),
    "Dropout": pointwise.derive_first,
    "Shape": counting.derive_shape,
    "Size": counting.derive_size,
    "Range": counting.derive_range,
    "ConstantOfShape": counting.derive_constant_of_shape,
    "Transpose": layout.derive_transpose,
    "Unsqueeze": layout.derive_unsqueeze,
    "Squeeze": layout.derive_squeeze,
    "Expand": layout.derive_expand,
    "Tile": layout.derive_tile,
    "Reshape": layout.derive_reshape,
    "Flatten": layout.derive_flatten,
    "Split": layout.derive_split,
    "Slice": selection.derive_slice,
    "Gather": selection.derive_gather,
    "GatherElements": selection.derive_gather_elements,
    "GatherND": selection.derive_gather_elements,
    "ScatterND": scattering.derive_scatter,
    "ScatterElements": scattering.derive_scatter_elements,
    "ConvTranspose": upsampling.derive_transposed_convolution,
    "Resize": resizing.derive_resize,
    "Concat": joining.derive_concat,
    "Pad": joining.derive_pad,
    **dict.fromkeys(("Conv", "MaxPool", "AveragePool", "LpPool"), windows.derive_window),
    **dict.fromkeys(
        ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
         "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare", "ArgMax", "ArgMin"),
        reductions.derive_reduction,
    ),
    **dict.fromkeys(
        ("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "TopK"),
        reductions.derive_along_axis,
    ),
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "BatchNormalization", "InstanceNormalization",
         "GroupNormalization"),
        reductions.derive_normalization,
    ),
    "MatMul": reductions.derive_matmul,
    "Gemm": reductions.derive_gemm,
    "Einsum": reductions.derive_einsum,
    "CumSum": reductions.derive_cumulative_sum,
    **dict.fromkeys(("RNN", "GRU", "LSTM"), recurrent.derive_recurrent),
    "Scan": scans.derive_scan,
    "Loop": loops.derive_loop,
}  # fmt: skip
