"""Runs the command line of operators, `python -m auth`: keys and users."""

import sys

from auth.cli.main import main

sys.exit(main())
