"""A bundle with weights of fewer bits, written only when its answers stay within a budget."""

from rnn_edge.quantization.quantizing import Quantized, quantize

__all__ = ["Quantized", "quantize"]
