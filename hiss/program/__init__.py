"""The recurrent program: numpy only. Ops, stages, the floating point definition, passes, cost, files."""

from hiss.program.program import Port, Program, Stage
from hiss.program.storage import load_program

__all__ = ["Port", "Program", "Stage", "load_program"]
