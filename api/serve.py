"""Starts the server in one process and one step, as `make serve` does: `python -m api.serve --host HOST --port PORT`.

It checks the port, creates the first key if it is asked to, and then does what `bentoml serve` does.
"""

# isort: off
import runtime.quick_start  # noqa: F401 - before anything that imports BentoML

# isort: on
import argparse
import signal
import sys

from auth.cli import first_key
from runtime import bentoml_server, port


def main() -> int:
    """Run the command line; returns once the server has ended.

    Raises:
        SystemExit: the server can't start; one line says why.
    """
    parser = argparse.ArgumentParser(prog="python -m api.serve", description=__doc__)
    parser.add_argument("service", nargs="?", default="service:ImageClassifier", help="module and name of the service")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", default="3000", help="the port to listen on")
    parser.add_argument("--first-key", action="store_true", help="create a first user and key, if there is no user yet")
    parser.add_argument("--development", action="store_true", help="serve in one process")
    parser.add_argument("--reload", action="store_true", help="start again whenever the code changes")
    given = parser.parse_args()
    reason = port.why_not(given.host, given.port)
    if reason is not None:
        sys.exit(f"ERROR: {reason}")
    if given.first_key and not first_key.tell_if_kept():
        from auth.cli.main import main as run_auth

        status = run_auth(["init"])
        if status != 0:
            return status
    bentoml_server.serve(given.service, given.host, int(given.port), given.development, given.reload)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
