"""Runs `python -m model.quantize`."""

import signal
import sys

from model.quantize.quantization import main
from runtime import bentoml_defaults

bentoml_defaults.use()
try:
    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(128 + signal.SIGINT)
