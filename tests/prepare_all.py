"""Prepare checkpoints as the command line does, without importing torch for each: that takes seconds.

    python -m tests.prepare_all FOLDER ...

Prepares several in one process. Prints one JSON object: for each folder its exit status, and what was written to
standard error.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from testing import warm_python
from testing.servers import preparing


def prepare(model_store: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Do the same as `run_prepare`, in a fork of a process that has imported torch already."""
    return prepare_with({}, model_store, *arguments, **settings)


def prepare_with(
    imported_with: Mapping[str, str], model_store: Path, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Do the same with more variables, which libraries read when they are imported: see `warm_python.run`."""
    environment = preparing(model_store, **imported_with, **settings)
    return warm_python.run("model.prepare", *arguments, environment=environment, imported_with=imported_with)


def prepare_all(model_store: Path, folders: list[Path], stdin: str = "") -> dict[str, tuple[int, str]]:
    """Prepare them in a process of their own: the name of each folder, its exit status, and what it said."""
    environment = preparing(model_store, CLASSIFIER_OFFLINE_MODEL="deny")
    done = warm_python.run("tests.prepare_all", *map(str, folders), environment=environment, stdin=stdin)
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: (status, said) for name, (status, said) in json.loads(done.stdout.splitlines()[-1]).items()}


def _main(folders: list[str]) -> None:
    from model.prepare.preparation import main

    told = {}
    for folder in folders:
        os.environ["CLASSIFIER_MODEL"] = folder
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = main([])
        told[Path(folder).name] = (status, said.getvalue())
    print(json.dumps(told))


if __name__ == "__main__":
    _main(sys.argv[1:])
