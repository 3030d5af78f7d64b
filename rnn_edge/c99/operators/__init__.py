"""Every operator that can be written as C, by its name in ONNX."""

from rnn_edge.c99.operators import movement, pointwise, products, recurrent, reductions

WRITERS = {
    **pointwise.WRITERS,
    **movement.WRITERS,
    **products.WRITERS,
    **recurrent.WRITERS,
    **reductions.WRITERS,
}

__all__ = ["WRITERS"]
