"""torch -> ONNX, the only place that knows both: module in, one whole-sequence graph out."""

from rnn_edge.capture.capture import OPSET, Capture, capture, evaluating

__all__ = ["OPSET", "Capture", "capture", "evaluating"]
