"""Runs the command line of operators, `python -m auth`: keys and users."""

import atexit
import io
import os
import signal
import sys

from runtime.garbage_collection import collect_rarely
from runtime.program import end_on_signals


def _drop_unwritten() -> None:
    """Drop what standard error did not take. Python would try again as it ends, and end with a status of its own."""
    try:
        sys.stderr.flush()
    except OSError:
        sys.stderr = None


# A reader such as `head` that has read enough ends this process without a traceback. (Windows has no such signal.)
if hasattr(signal, "SIGPIPE"):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
# After what the command does before it ends, such as deleting half an export.
end_on_signals()
# Where it is closed, what goes there would otherwise come to standard output, into the answer.
if sys.stderr is None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - it is needed until the end
# An address in an alphabet that the terminal lacks is no reason to fail.
if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors="backslashreplace")
atexit.register(_drop_unwritten)
collect_rarely()
try:
    # Imported here: it takes a third of a second, in which somebody may press Ctrl+C.
    from auth.cli.main import main

    sys.exit(main())
except KeyboardInterrupt:
    sys.exit(128 + signal.SIGINT)
