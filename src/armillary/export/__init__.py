"""What was learned, to be used without this library: ONNX, StableHLO, and a page that dreams."""
