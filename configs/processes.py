"""What the processes of a server owe each other."""

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def end_with_parent() -> None:
    """Have this process end, as on SIGTERM, when the one that started it dies.

    BentoML's supervisor gives workers process groups of their own: killed by SIGKILL, it would leave them serving on
    its port, where its successor could not start. Linux alone can be asked for this; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
