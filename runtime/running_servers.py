"""Gives each server a name, and lets other programs find out what the running servers serve with.

A server is its supervisor: the process that starts the workers. Its name is its process id with the time when it
started, since the id alone is used again after its end.
"""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

_FOLDER = "servers"
# psutil derives the time from the clock, which may be set meanwhile.
_CLOCK_MAY_DIFFER_BY_S = 10


def own_name() -> str:
    """Return the name of the server whose supervisor is this process."""
    return f"{os.getpid()}-{int(psutil.Process().create_time())}"


def is_running(name: str) -> bool:
    """Tell whether the server with that name still runs; False also if it is the name of no server."""
    pid, _, started = name.partition("-")
    try:
        return abs(psutil.Process(int(pid)).create_time() - int(started)) < _CLOCK_MAY_DIFFER_BY_S
    except (ValueError, OverflowError, psutil.Error):
        return False


def remove_leftovers(folder: Path) -> None:
    """Remove everything in a folder that does not have the name of a running server, with or without an ending."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if not is_running(path.stem):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def write_down(data_folder: Path, served_with: dict[str, Any]) -> None:
    """Write what this server serves with to the data folder, readable by its owner only.

    Nothing happens where the folder is not writable, as in a container without a volume.
    """
    folder = data_folder / _FOLDER
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_leftovers(folder)
        written, path = folder / f".{own_name()}", folder / f"{own_name()}.json"
        with os.fdopen(os.open(written, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(served_with, file)
        # Readers see the whole file or none.
        written.replace(path)


def last_started(data_folder: Path) -> dict[str, Any] | None:
    """Return what the running server that started last has written down; None if none is running."""
    found = []
    with suppress(OSError):
        for path in (data_folder / _FOLDER).glob("*.json"):
            with suppress(OSError, ValueError):
                if is_running(path.stem):
                    found.append((path.stat().st_mtime, json.loads(path.read_text("utf-8"))))
    newest = max(found, key=lambda one: one[0], default=(0, None))[1]
    return newest if isinstance(newest, dict) else None
