"""Runs `python -m model.prepare`."""

import signal
import sys

from model.prepare.preparation import main
from runtime import bentoml_defaults

bentoml_defaults.use()
try:
    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(128 + signal.SIGINT)
