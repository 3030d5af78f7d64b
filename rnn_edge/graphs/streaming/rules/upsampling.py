"""ConvTranspose over time: each frame becomes several, and windows overlap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from rnn_edge.graphs.streaming.branches import run_where_frames
from rnn_edge.graphs.streaming.derivation import Derivation
from rnn_edge.graphs.streaming.kinds import Timed
from rnn_edge.graphs.streaming.shifting import join_context, settle


def derive_transposed_convolution(derivation: Derivation, node: ir.Node) -> None:
    """What no later frame adds to comes out; the rest follows with the frames that complete it."""
    value, (output,) = node.inputs[0], node.outputs
    assert value is not None
    kind = derivation.kind(value)
    if not isinstance(kind, Timed):
        derivation.kinds[output] = kind
        return
    if kind.axis == 0:
        # Every frame is an image of its own.
        derivation.kinds[output] = replace(kind, first=None, truth=None)
        return
    if kind.axis == 1:
        derivation.refuse("it takes time for channels")
    if kind.offset:
        value, kind = settle(derivation, value, kind)
    if not kind.plain or kind.context:
        derivation.refuse("frames that came before are among its own")
    span, stride, cut = _window(derivation, node, kind.axis - 2, derivation.rank(value) - 2)
    context = (span - 1) // stride
    joined = join_context(derivation, value, kind, context) if context else value
    clock = derivation.repeated_clock(kind.clock, stride)
    node.replace_input_with(0, joined)
    start = derivation.numbers(context * stride)
    whole = ir.val(derivation.name_for(f"{output.name}_overlapping"), output.dtype)
    frames = ir.Node(
        "", "ConvTranspose", node.inputs, node.attributes.values(), outputs=[whole], name=node.name
    )
    derivation.insert(frames)
    end = derivation.emit("Add", [clock.frames, start], like=clock.frames)
    kept = derivation.slice_frames(whole, kind.axis, start, end)
    kept.shape = output.shape
    length = kind.length * stride + span - stride - sum(cut)
    after = replace(
        kind, clock=clock, length=np.maximum(length, 0), offset=-cut[0], lead=None, first=None,
        truth=None,
    )  # fmt: skip
    if kind.clock.may_pause and not context:
        whole.shape = output.shape
        derivation.kinds[whole] = after
        dims = derivation.dims(output)
        dims[kind.axis] = 0
        derivation.node = frames
        run_where_frames(derivation, frames, kind.clock, [dims])
        derivation.node = node
    derivation.replace(output, kept, after)


def _window(
    derivation: Derivation, node: ir.Node, place: int, rank: int
) -> tuple[int, int, tuple[int, int]]:
    """(elements that one frame adds to, stride, elements cut off at the start and the end).

    The cut is taken out of ``node``, whose output then ends with the last whole stride.
    """

    def listed(name: str, default: int, count: int) -> list[int]:
        attribute = node.attributes.get(name)
        return list(attribute.as_ints()) if attribute is not None else [default] * count

    automatic = node.attributes.get("auto_pad")
    if "output_shape" in node.attributes or (
        automatic is not None and automatic.as_string() not in ("NOTSET", "VALID")
    ):
        derivation.refuse("its padding follows the size of its output", "Give it in numbers.")
    sizes = listed("kernel_shape", 0, rank)
    if not sizes[place]:
        assert node.inputs[1] is not None
        dims = derivation.dims(node.inputs[1])
        sizes = [dim if isinstance(dim, int) else 0 for dim in dims[2:]]
    pads, more = listed("pads", 0, 2 * rank), listed("output_padding", 0, rank)
    strides = listed("strides", 1, rank)
    span = (sizes[place] - 1) * listed("dilations", 1, rank)[place] + 1
    cut = pads[place], pads[place + rank] - more[place]
    pads[place] = pads[place + rank] = 0
    more[place] = max(0, strides[place] - span)
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    node.attributes["output_padding"] = ir.AttrInt64s("output_padding", more)
    return span, strides[place], cut
