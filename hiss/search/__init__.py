"""Architectures under a chip's budget: each candidate is priced as the integer C that it becomes, then trained.

Its cost comes from the folded, quantized, compiled and emulated program, never from a guess. It may import every room.
"""

from hiss.search.candidate import Candidate, Space
from hiss.search.study import Study
from hiss.search.trial import Outcome, Price, Task

__all__ = ["Candidate", "Outcome", "Price", "Space", "Study", "Task"]
