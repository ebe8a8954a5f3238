"""Runs `python -m model.tune`."""

from runtime.program import run

run("model.tune.tuning")
