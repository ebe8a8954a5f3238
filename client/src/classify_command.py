"""The start of the command `classify`. It decides what Ctrl+C does before it imports anything that takes time.

It lies beside the package, because importing anything of the package imports all that a client needs.
"""

# `_signal` is there when Python has started. `signal` imports other modules first, and Ctrl+C would show a traceback.
import _signal as signal  # type: ignore[import-not-found]  # noqa: PLC2701
import os
import sys


def main() -> int:
    """Run `classify` with the arguments of the process, and return its exit status."""
    _open_closed_files()
    _end_silently_on_ctrl_c()
    import gc

    from classifier_client.cli.main import STOPPED
    from classifier_client.cli.main import main as run

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    status = run()
    # Python would search all that is loaded for garbage as it ends, which takes a fifth of a short command's time.
    gc.freeze()
    _end_silently_on_ctrl_c()
    if status == STOPPED:
        # Python would wait for requests that are under way, and a shell would go on with the loop that this is part of.
        signal.raise_signal(signal.SIGINT)
    return status


def _end_silently_on_ctrl_c() -> None:
    """Let Ctrl+C end the process at once, without a traceback, unless it is ignored, as after `nohup`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _open_closed_files() -> None:
    """Open standard files that the caller has closed, so that no other file gets their numbers.

    Reading there finds nothing, writing results there fails, and messages are lost.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - it stays open
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


if __name__ == "__main__":
    sys.exit(main())
