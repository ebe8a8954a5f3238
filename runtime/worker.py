"""Runs BentoML's worker: `python -m runtime.worker`, with the arguments of `_bentoml_impl.worker.service`.

BentoML's supervisor starts this module in the place of its own (`use`), so that a worker, too, loads only what it
needs of BentoML.
"""

# isort: off
import runtime.quick_start  # noqa: F401 - before anything that imports BentoML

# isort: on
import os

from runtime.python_path import python_path


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

    main()
