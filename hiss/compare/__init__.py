"""Models x data sets x seeds, under one protocol: each cell is trained, folded, quantized, scored, and kept in a file.

A comparison that was interrupted goes on with the cells that are missing. It may import every room.
"""

from hiss.compare.cells import Cell, cells
from hiss.compare.plan import Data, Entry, Plan, RidgeSpec, read_plan
from hiss.compare.report import tables, to_json
from hiss.compare.runner import run_cell

__all__ = ["Cell", "Data", "Entry", "Plan", "RidgeSpec", "cells", "read_plan", "run_cell", "tables", "to_json"]
