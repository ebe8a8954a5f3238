"""Runs `python -m model.tune`."""

import sys

from model.tune.tuning import main
from runtime import bentoml_defaults

bentoml_defaults.use()
sys.exit(main())
