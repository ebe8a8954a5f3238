"""Prepare several checkpoints in one process, each as the command line does: importing torch takes seconds.

    python -m tests.prepare_all FOLDER ...

Prints one JSON object: for each folder its exit status, and what was written to standard error.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

from testing.servers import PROJECT, inherited


def prepare_all(model_store: Path, folders: list[Path], stdin: str = "") -> dict[str, tuple[int, str]]:
    """Prepare them in a process of their own: the name of each folder, its exit status, and what it said."""
    model_store.mkdir(parents=True, exist_ok=True)
    home = {"BENTOML_HOME": str(model_store.parent), "BENTOML_DO_NOT_TRACK": "True", "CLASSIFIER_OFFLINE_MODEL": "deny"}
    # Tiny networks take three times as long on several threads; to measure how fast they are would take seconds each.
    home |= {"OMP_NUM_THREADS": "1", "CLASSIFIER_TUNE": "off"}
    command = [sys.executable, "-m", "tests.prepare_all", *map(str, folders)]
    done = subprocess.run(
        command, cwd=PROJECT, env={**inherited(), **home}, capture_output=True, text=True, check=False, input=stdin
    )
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
