"""`python -m auth`: keys and users, from the command line."""

import sys

from auth.cli.main import main

sys.exit(main())
