"""Runs BentoML's worker: `python -m runtime.worker`, with the arguments of `_bentoml_impl.worker.service`.

BentoML's supervisor starts this module in the place of its own (`use`), so that a worker, too, loads only what it
needs of BentoML. It also keeps idle connections open for longer.
"""

# isort: off
import runtime.quick_start  # noqa: F401 - before anything that imports BentoML

# isort: on
import os

from runtime.python_path import python_path

# How long a connection stays open between two requests, seconds, unless `--timeout-keep-alive` says otherwise. It is
# longer than clients and proxies keep theirs (httpx 5 s, aiohttp 15, nginx 60, Go 90): if the server closes a
# connection just when a client sends a request on it, that request is lost.
IDLE_S = 120


def use() -> None:
    """Have BentoML's supervisor, which is this process, start its workers with this module."""
    # Loaded in a supervisor only.
    from _bentoml_impl.server import serving

    serving._SERVICE_WORKER_SCRIPT = __name__
    # Python must find the module also where a Bento is served from another folder.
    os.environ["PYTHONPATH"] = python_path()


if __name__ == "__main__":
    from runtime import metrics_files

    metrics_files.use()
    from _bentoml_impl.worker.service import main

    main(default_map={"timeout_keep_alive": IDLE_S})
