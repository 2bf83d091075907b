"""Quantization: a Program and calibration recordings -> a Program with number formats, each overflow excluded."""

from hiss.quantization.choose import quantize, quantized
from hiss.quantization.report import Choice, Moved, Report, Value

__all__ = ["Choice", "Moved", "Report", "Value", "quantize", "quantized"]
