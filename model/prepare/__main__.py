"""Runs `python -m model.prepare`."""

import sys

from model.prepare.preparation import main
from runtime import bentoml_defaults

bentoml_defaults.use()
sys.exit(main())
