"""Choose one id a row from logits, inside a graph: the likeliest, or drawn.

Shapes: logits float32[batch, vocabulary], -inf where an id must never come; everything a row has
of its own is [batch]. The numbers come from a multiplicative congruential generator whose products
fit 53 bits of sign-less integers on every runtime, so one seed gives one text everywhere.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxscript

op: Any = onnxscript.opset18


def _double(number: float) -> Any:
    """A scalar float64: what Python's numbers become would be cast at every call."""
    return onnx.numpy_helper.from_array(np.array(number, np.float64))


def _whole(*numbers: int) -> Any:
    return onnx.numpy_helper.from_array(np.array(numbers, np.int64))


# Modulus 2**31 - 1 and a multiplier of full period; see Fishman and Moore, 1986.
MODULUS = 2**31 - 1
MULTIPLIER = 742938285

_ONE, _MULTIPLIER, _MODULUS = _whole(1), _whole(MULTIPLIER), _whole(MODULUS)
_NOTHING, _LEAST, _RANGE = _double(0.0), _double(1e-9), _double(float(MODULUS))


@onnxscript.script(default_opset=onnxscript.opset18)
def draw(logits, size, temperature, top_k, top_p, random):
    """The ids, their log-probabilities, and the numbers for the next draw.

    ``size`` int64[1] is the vocabulary's. ``random`` int64[batch] in 0 .. 2**31 - 3;
    ``temperature`` is above 0; ``top_k`` 0 and ``top_p`` 1 leave every id; all three are scalars.
    """
    one, nothing = op.Constant(value=_ONE), op.Constant(value=_NOTHING)
    likelihoods = op.LogSoftmax(logits, axis=-1)
    product = op.Mul(op.Add(random, one), op.Constant(value=_MULTIPLIER))
    next_random = op.Sub(op.Mod(product, op.Constant(value=_MODULUS)), one)
    share = op.Div(op.Cast(next_random, to=11), op.Constant(value=_RANGE))
    wished = op.Reshape(top_k, [1])
    count = op.Where(op.Less(wished, one), size, op.Min(wished, size))
    below = op.Sub(logits, op.ReduceMax(logits, axes=[1], keepdims=1))
    scaled = op.Div(op.Cast(below, to=11), op.Cast(temperature, to=11))
    best, ids = op.TopK(scaled, count, axis=-1)
    parts = op.Softmax(best, axis=-1)
    sums = op.CumSum(parts, one)
    # Of the likeliest ids, in order, those before which less than top_p has come.
    limit = op.Max(op.Cast(top_p, to=11), op.Constant(value=_LEAST))
    kept = op.Where(op.Less(op.Sub(sums, parts), limit), parts, nothing)
    sums_kept = op.CumSum(kept, one)
    total = op.ReduceSum(kept, [1], keepdims=1)
    passed = op.Cast(op.LessOrEqual(sums_kept, op.Mul(op.Unsqueeze(share, [1]), total)), to=7)
    place = op.ReduceSum(passed, [1], keepdims=1)
    left = op.Cast(op.Greater(kept, nothing), to=7)
    last = op.Sub(op.ReduceSum(left, [1], keepdims=1), one)
    chosen = op.GatherElements(ids, op.Min(place, last), axis=1)
    likelihood = op.GatherElements(likelihoods, chosen, axis=1)
    return op.Squeeze(chosen, [1]), op.Squeeze(likelihood, [1]), next_random


@onnxscript.script(default_opset=onnxscript.opset18)
def take_likeliest(logits):
    """The likeliest ids, and their log-probabilities."""
    likelihoods = op.LogSoftmax(logits, axis=-1)
    chosen = op.ArgMax(logits, axis=-1, keepdims=0)
    return chosen, op.ReduceMax(likelihoods, [-1], keepdims=0)
