"""Lets the Python processes that this one starts find the project's code, whatever folder they run in."""

import os
from pathlib import Path

from configs.data_folder import PROJECT


def python_path(code: Path = PROJECT) -> str:
    """Return a `PYTHONPATH` that names the folder of the code before the folders that this process has there."""
    return os.pathsep.join(filter(None, (str(code), os.environ.get("PYTHONPATH"))))


def environment(code: Path = PROJECT) -> dict[str, str]:
    """Return the environment of this process, with that `PYTHONPATH`."""
    return {**os.environ, "PYTHONPATH": python_path(code)}
