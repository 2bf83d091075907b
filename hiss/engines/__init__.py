"""Runners of a program, one a file, all with the interface of the numpy Stepper."""

from hiss.engines.numpy_engine import Stepper

__all__ = ["Stepper"]
