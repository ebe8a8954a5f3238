"""Runs `python -m model.quantize`."""

from runtime.program import run

run("model.quantize.quantization")
