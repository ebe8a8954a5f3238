"""Runs `python -m model.quantize`."""

import sys

from model.quantize.quantization import main

sys.exit(main())
