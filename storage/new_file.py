"""Makes a new file under its name only once it is whole: half a backup or export is easily taken for a whole one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def new_file(path: Path, mode: int = 0o600) -> Iterator[Path]:
    """Make an empty file, and give it its name when the block has ended without an error.

    Args:
        path: the file.
        mode: who may read and write it, less what the process' umask takes away.

    Yields:
        the path of the file meanwhile: beside `path`, with a hidden name. A process that is killed leaves it there.

    Raises:
        FileExistsError: there is a file of that name already.
        OSError: the file can't be made.
    """
    if os.path.lexists(path):
        raise FileExistsError(path)
    writing = path.with_name(f".{path.name}.{os.getpid()}")
    os.close(os.open(writing, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode))
    try:
        yield writing
        _flush(writing)
        _name(writing, path)
    finally:
        with suppress(OSError):
            writing.unlink()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _name(writing: Path, path: Path) -> None:
    """Rename a file, but never over another one.

    Raises:
        FileExistsError: another process has made a file of that name meanwhile.
    """
    try:
        os.link(writing, path)
    except FileExistsError:
        raise
    except OSError:
        # Not every file system has links.
        writing.rename(path)
