"""Runs `python -m model.tune`."""

import sys

from model.tune.tuning import main

sys.exit(main())
