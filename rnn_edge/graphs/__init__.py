"""ONNX -> ONNX, one pass a file, on onnx_ir; none of them knows torch."""
