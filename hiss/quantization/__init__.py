"""Quantization: a Program and calibration recordings -> a Program with number formats, each overflow excluded."""

from hiss.quantization.choose import prepared, quantize, quantized
from hiss.quantization.report import Moved, Report, Value

__all__ = ["Moved", "Report", "Value", "prepared", "quantize", "quantized"]
