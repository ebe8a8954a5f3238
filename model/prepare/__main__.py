"""Runs `python -m model.prepare`."""

from runtime.program import run

run("model.prepare.preparation")
