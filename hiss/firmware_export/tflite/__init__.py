"""Program -> TensorFlow Lite files, written directly: one graph per stage, states as inputs and outputs."""
