"""Runs `python -m model.quantize`."""

import sys

from model.quantize.quantization import main
from runtime import bentoml_defaults

bentoml_defaults.use()
sys.exit(main())
