"""Runs the main function of a program, and has signals end it only after it has deleted its unfinished files."""

import os
import signal
import sys
import threading
from importlib import import_module
from types import FrameType
from typing import NoReturn

from runtime.garbage_collection import collect_rarely

# The longest that a program takes to end after a signal, in seconds: a thread of it may still wait for the network.
ENDS_WITHIN_S = 4.0
# SIGHUP comes when a terminal is closed. (Windows has no such signal.)
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def run(module: str) -> NoReturn:
    """Run the function `main` of a module, with BentoML's defaults as this service wants them, and exit.

    Args:
        module: its name. It is imported here, since that takes seconds, and Ctrl-C may come meanwhile.
    """
    collect_rarely()
    end_on_signals()
    try:
        main = import_module(module).main
        from runtime import bentoml_defaults

        bentoml_defaults.use()
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def end_on_signals() -> None:
    """Have SIGTERM and SIGHUP raise SystemExit, with the usual exit status; under `nohup` SIGHUP stays ignored."""
    for number in heeded_signals():
        signal.signal(number, _end)


def heeded_signals() -> list[signal.Signals]:
    """Return which of SIGTERM and SIGHUP are not ignored, as SIGHUP is under `nohup`."""
    return [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]


def _end(number: int, _frame: FrameType | None) -> None:
    # A second signal must not stop the program while it deletes what it has left unfinished.
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    at_last = threading.Timer(ENDS_WITHIN_S, os._exit, [128 + number])
    at_last.daemon = True
    at_last.start()
    sys.exit(128 + number)
