"""Runs the command line of operators, `python -m auth`: keys and users."""

import io
import os
import signal
import sys

from auth.cli.main import main

# A reader such as `head` that has read enough ends this process without a traceback. (Windows has no such signal.)
if hasattr(signal, "SIGPIPE"):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
# Where it is closed, what goes there would otherwise come to standard output, into the answer.
if sys.stderr is None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it is needed until the end
# An address in an alphabet that the terminal lacks is no reason to fail.
if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors="backslashreplace")
try:
    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(128 + signal.SIGINT)
