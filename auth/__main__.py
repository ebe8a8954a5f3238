"""Runs the command line of operators, `python -m auth`: keys and users."""

import signal
import sys

from auth.cli.main import main

# A reader such as `head` that has read enough ends this process without a traceback. (Windows has no such signal.)
if hasattr(signal, "SIGPIPE"):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
try:
    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(128 + signal.SIGINT)
