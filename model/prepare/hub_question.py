"""Asks the Hugging Face hub whether it answers, within a fixed time, even if a name server or the hub is silent.

`python -m model.prepare.hub_question URL SECONDS` exits with 0 if anything answers, with any status. Otherwise it
prints the kind of the error. The HTTP client runs in this process of its own, so that it takes no memory of the server.
"""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future


def run_within(seconds: float, work: Callable[[], object]) -> None:
    """Run the work in a thread, since the client's own timeout does not cover a name server that never answers.

    Raises:
        TimeoutError: the work takes longer.
    """
    outcome: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except Exception as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    outcome.result(seconds)


def _main(url: str, seconds: float) -> int:
    # The library of the hub's client, so that proxies and certificates are the same.
    import httpx2

    try:
        run_within(seconds, lambda: httpx2.head(url, timeout=seconds))
    except Exception as error:
        print(type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], float(sys.argv[2])))
