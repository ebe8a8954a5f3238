"""Keeps the memory of a process low: few arenas, and freed memory goes back to the operating system."""

import ctypes
import threading

# Memory that is freed in this time is returned together with it. Not sooner: under load it is needed again at once, and
# five returns a second cost 4 to 9 % of the answers to photographs of 1.2 megapixels.
AFTER_S = 5.0
# `M_ARENA_MAX` of glibc's malloc.h, and how many arenas there may be.
_ARENA_MAX, ARENAS = -8, 2


def use_few_arenas() -> None:
    """Make threads share the allocator's arenas. By default each thread has one, and each keeps what it has freed.

    Only glibc's allocator has such an option (`mallopt`); with others nothing happens. Call this before threads start.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is not None:
        option(_ARENA_MAX, ARENAS)


def return_freed_memory() -> None:
    """Make the allocator return the memory that it keeps free to the system. This takes some milliseconds.

    Only glibc's allocator has a function for this (`malloc_trim`); with others nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class FreedMemory:
    """Returns memory to the system after large uploads and images; by itself the allocator keeps some 100 MB."""

    def __init__(self) -> None:
        self._is_due = False

    def return_soon(self) -> None:
        """Return the freed memory after `AFTER_S`, from a thread of its own. Any thread may call this."""
        if not self._is_due:
            self._is_due = True
            timer = threading.Timer(AFTER_S, self._return)
            timer.daemon = True
            try:
                timer.start()
            except RuntimeError:
                # There are too many threads. The image or upload is answered all the same; a later one tries again.
                self._is_due = False

    def _return(self) -> None:
        self._is_due = False
        return_freed_memory()


# One for the whole process, as the allocator is.
freed_memory = FreedMemory()
