"""Keeps a full disk from ending a worker: Prometheus' files have room on the disk before they are written to.

`prometheus_client` makes its files longer without a block on the disk, and writes to them as memory. Where the disk has
no block left, the system then ends the process by a signal (SIGBUS), without a word; and the next one, and so on.
"""

import logging
import mmap
import os
from contextlib import suppress
from functools import cache
from typing import Any

from prometheus_client import values
from prometheus_client.mmap_dict import _INITIAL_MMAP_SIZE, MmapedDict

logger = logging.getLogger("bentoml.classifier")


class AllocatedDict(MmapedDict):
    """The values of one file. What there is no room for is kept in memory until there is.

    Args:
        filename: the file, which only this process writes to.
    """

    def __init__(self, filename: str) -> None:
        self._name = filename
        self._f: Any = None
        self._m: Any = None
        self._positions: dict[str, int] = {}
        self._used = self._capacity = 0
        self._aside: dict[str, tuple[float, float]] = {}

    def read_value(self, key: str) -> Any:
        """Return a value with its time. A new key gets its place in the file, if there is room."""
        if self._has_place(key):
            return super().read_value(key)  # type: ignore[no-untyped-call]
        return self._aside.setdefault(key, (0.0, 0.0))

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Write a value with its time, or keep it aside."""
        if self._has_place(key):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
            self._aside.pop(key, None)
        else:
            self._aside[key] = (value, timestamp)
        self._write_aside()

    def _write_aside(self) -> None:
        for key, (value, timestamp) in [*self._aside.items()]:
            if not self._has_place(key):
                return
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
            del self._aside[key]

    def _has_place(self, key: str) -> bool:
        if key in self._positions:
            return True
        try:
            self._make_room(key)
        except OSError as error:
            _tell_once(error.strerror)
            return False
        return True

    def _make_room(self, key: str) -> None:
        """Make the file, or make it longer, so that this key has a place in it.

        Raises:
            OSError: the file can't be made, or the disk is full.
        """
        if self._f is None:
            self._open()
        # The most that an entry takes: two numbers, the key's length and filling.
        needed, capacity = self._used + len(key.encode()) + 32, self._capacity
        while capacity < needed:
            capacity *= 2
        if capacity > self._capacity:
            _allocate(self._f, capacity)
            self._m = mmap.mmap(self._f.fileno(), capacity)
            self._capacity = capacity

    def _open(self) -> None:
        try:
            with open(self._name, "ab", buffering=0) as file:
                _allocate(file, _INITIAL_MMAP_SIZE)
        except OSError:
            # Whoever reads the metrics could not read an empty file.
            with suppress(OSError):
                if os.path.getsize(self._name) == 0:
                    os.unlink(self._name)
            raise
        super().__init__(self._name)  # type: ignore[no-untyped-call]


@cache
def _tell_once(reason: str) -> None:
    logger.warning("New metrics can't be written, so /metrics lacks them for now (%s); free some space.", reason)


def _allocate(file: Any, size: int) -> None:
    """Write zeros to a file until it has that size, or leave it as it was."""
    before = os.fstat(file.fileno()).st_size
    try:
        for written in range(before, size, mmap.PAGESIZE):
            os.pwrite(file.fileno(), bytes(min(mmap.PAGESIZE, size - written)), written)
    except OSError:
        os.ftruncate(file.fileno(), before)
        raise


def use() -> None:
    """Have the metrics of this process written in this way, from the first one on."""
    module: Any = values
    module.MmapedDict = AllocatedDict
