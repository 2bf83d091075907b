"""python -m hiss."""

from hiss.cli.main import run

run()
