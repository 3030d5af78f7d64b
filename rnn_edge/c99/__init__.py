"""A stream graph as C99 that needs no runtime: ONNX in, C out, neither torch nor onnxruntime."""
