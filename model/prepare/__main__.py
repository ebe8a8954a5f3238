"""Runs `python -m model.prepare`."""

import sys

from model.prepare.preparation import main

sys.exit(main())
