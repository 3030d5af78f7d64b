"""Weights of fewer bits: nodes that compute with int8, and weights stored as int8 or float16."""

from rnn_edge.graphs.quantization.composed_layers import ComposeLayers
from rnn_edge.graphs.quantization.dynamic_lstm import QuantizeLstms
from rnn_edge.graphs.quantization.heads import ComposeHeads
from rnn_edge.graphs.quantization.stored_weights import StoreWeights

__all__ = ["ComposeHeads", "ComposeLayers", "QuantizeLstms", "StoreWeights"]
