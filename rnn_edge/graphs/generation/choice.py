"""Choose one id a row from logits, inside a graph: the likeliest, or drawn.

Shapes: logits float32[batch, vocabulary], -inf where an id must never come; everything a row has
of its own is [batch]. The numbers come from a multiplicative congruential generator whose products
fit 53 bits of sign-less integers on every runtime, so one seed gives one text everywhere.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any

import onnxscript

op: Any = onnxscript.opset18

# Modulus 2**31 - 1 and a multiplier of full period; see Fishman and Moore, 1986.
MODULUS = 2**31 - 1
MULTIPLIER = 742938285


@onnxscript.script(default_opset=onnxscript.opset18)
def draw(logits, temperature, top_k, top_p, random):
    """The ids, their log-probabilities, and the numbers for the next draw.

    ``random`` int64[batch] in 0 .. 2**31 - 3; ``temperature`` is above 0; ``top_k`` 0 and
    ``top_p`` 1 leave every id; all three are scalars.
    """
    likelihoods = op.LogSoftmax(logits, axis=-1)
    next_random = op.Mod((random + 1) * MULTIPLIER, MODULUS) - 1
    share = op.Cast(next_random, to=11) / 2147483647.0
    size = op.Shape(logits, start=1, end=2)
    wished = op.Reshape(top_k, [1])
    count = op.Where(wished < 1, size, op.Min(wished, size))
    below = logits - op.ReduceMax(logits, axes=[1], keepdims=1)
    scaled = op.Cast(below, to=11) / op.Cast(temperature, to=11)
    best, ids = op.TopK(scaled, count, axis=-1)
    parts = op.Softmax(best, axis=-1)
    sums = op.CumSum(parts, 1)
    # Of the likeliest ids, in order, those before which less than top_p has come.
    limit = op.Max(op.Cast(top_p, to=11), 1e-9)
    kept = op.Where(sums - parts < limit, parts, 0.0)
    sums_kept = op.CumSum(kept, 1)
    total = op.ReduceSum(kept, [1], keepdims=1)
    passed = op.Cast(sums_kept <= op.Unsqueeze(share, [1]) * total, to=7)
    place = op.ReduceSum(passed, [1], keepdims=1)
    last = op.ReduceSum(op.Cast(kept > 0.0, to=7), [1], keepdims=1) - 1
    chosen = op.GatherElements(ids, op.Min(place, last), axis=1)
    likelihood = op.GatherElements(likelihoods, chosen, axis=1)
    return op.Squeeze(chosen, [1]), op.Squeeze(likelihood, [1]), next_random


@onnxscript.script(default_opset=onnxscript.opset18)
def take_likeliest(logits):
    """The likeliest ids, and their log-probabilities."""
    likelihoods = op.LogSoftmax(logits, axis=-1)
    chosen = op.ArgMax(logits, axis=-1, keepdims=0)
    return chosen, op.ReduceMax(likelihoods, [-1], keepdims=0)
