"""torch -> ONNX, the only place that knows both: module in, one whole-sequence graph out."""

from rnn_edge.capture.capture import Capture, capture, evaluating
from rnn_edge.capture.registry import OPSET

__all__ = ["OPSET", "Capture", "capture", "evaluating"]
