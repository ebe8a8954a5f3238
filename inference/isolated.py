"""The process that decodes what is out of the ordinary: each file in a process of its own, with limits.

A thread that decodes can't be stopped, and a decoder may take any time and memory over a file that was made for it. So
`Isolation` (see `isolation.py`) keeps one small process warm, which has Pillow loaded; it forks a child for each file.
The kernel ends a child that has used up its processor time or its memory; and the child ends where its caller has gone.

Messages are of `MESSAGE`'s size. `DECODE` comes with two file descriptors: the file, and a socket for the answer: the
length of a JSON document, the document, and the pixels. `STOP` ends a child that is not wanted any more.
"""

import ctypes
import gc
import io
import json
import mmap
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

from PIL import Image

from model.errors import ImageError
from model.images.decode import decode
from model.recipe import Recipe

# What to do, the number of the file, whether to decode it exactly, and the milliseconds of processor time it may take.
MESSAGE = struct.Struct("<cI?I")
DECODE, STOP = b"D", b"S"
LENGTH = struct.Struct("<I")
TOO_COSTLY = "too costly"

# Beyond what the process has at its start. Images of 50 million pixels take 200 MB in Pillow, and twice that while they
# are laid on white or turned.
MEMORY_BYTES = 425 * 1024 * 1024
_NICE = 15
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_WARM_UP = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


class Forker:
    """Forks a child for each file that it is sent, and ends those that are not wanted any more.

    Args:
        control: where the messages come from; all ends when it is closed.
        recipe: how the model takes images.
        max_pixels: the most that an image may have.
    """

    def __init__(self, control: socket.socket, recipe: Recipe, max_pixels: int) -> None:
        self._control = control
        self._recipe = recipe
        self._max_pixels = max_pixels
        self._children: dict[int, int] = {}
        # Written to by Python whenever a signal comes: a child has ended.
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Return when the control socket is closed."""
        handles: list[int]
        while True:
            ready, _, _ = select.select([self._control.fileno(), self._woken], [], [])
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._reap()
            if self._control.fileno() not in ready:
                continue
            message, handles, _, _ = socket.recv_fds(self._control, MESSAGE.size, 2)
            if len(message) < MESSAGE.size:
                break
            self._act(message, handles)
        for child in self._children.values():
            os.kill(child, signal.SIGKILL)

    def _act(self, message: bytes, handles: list[int]) -> None:
        action, number, exact, limit_ms = MESSAGE.unpack(message)
        if action == STOP and number in self._children:
            # (Its number can't be another's yet: only this process reaps it.)
            os.kill(self._children[number], signal.SIGKILL)
        elif action == DECODE:
            child = os.fork()
            if child == 0:
                signal.set_wakeup_fd(-1)
                self._control.close()
                _decode(handles, self._recipe, self._max_pixels, exact, limit_ms)
            self._children[number] = child
            for handle in handles:
                os.close(handle)

    def _reap(self) -> None:
        """Forget the children that have ended."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self._children = {number: child for number, child in self._children.items() if child != ended}


def main() -> None:
    """Serve the process at the other end of the socket whose number is the first argument."""
    control = socket.socket(fileno=int(sys.argv[1]))
    task = json.loads(sys.argv[2])
    recipe, max_pixels = Recipe.from_dict(task["recipe"]), int(task["max_pixels"])
    end_with(os.getppid(), signal.SIGKILL)
    # It is ended by its socket: until then, requests under way may still need it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _load(recipe, max_pixels)
    Forker(control, recipe, max_pixels).serve()


def end_with(parent: int, by: signal.Signals) -> None:
    """Have this process end by that signal when the one that started it dies; Linux alone can be asked for this."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
        if os.getppid() != parent:
            os.kill(os.getpid(), by)


def _load(recipe: Recipe, max_pixels: int) -> None:
    """Decode a small image of each format, so that every child finds the decoders loaded."""
    for name in _WARM_UP:
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, name)
        decode(file.getvalue(), recipe, max_pixels)
        decode(file.getvalue(), recipe, max_pixels, exact=False)
    gc.collect()
    gc.freeze()


def _decode(handles: list[int], recipe: Recipe, max_pixels: int, exact: bool, limit_ms: int) -> None:
    """Decode one file and end this process."""
    try:
        _limit(limit_ms)
        # What libtiff and others write of a stranger's file is no line of a log.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        file, answer = handles
        with mmap.mmap(file, 0, prot=mmap.PROT_READ) as mapped:
            data = mapped[:]
        os.close(file)
        said, pixels = _answer(data, recipe, max_pixels, exact)
        document = json.dumps({**said, "cpu_s": time.process_time()}).encode()
        with socket.socket(fileno=answer) as opened:
            opened.sendall(LENGTH.pack(len(document)) + document + pixels)
    finally:
        os._exit(0)


def _answer(data: bytes, recipe: Recipe, max_pixels: int, exact: bool) -> tuple[dict[str, object], bytes]:
    try:
        decoded = decode(data, recipe, max_pixels, exact)
    except ImageError as error:
        return {"error": type(error).__name__, "message": str(error)}, b""
    except MemoryError:
        return {"error": TOO_COSTLY}, b""
    return {"width": decoded.width, "height": decoded.height, "format": decoded.format}, decoded.pixels.tobytes()


def _limit(limit_ms: int) -> None:
    """Bound the processor time and the memory of this process, and have it give way to all others."""
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    end_with(os.getppid(), signal.SIGKILL)
    # Its signal, SIGPROF, ends a process that does not handle it, whatever code it is in.
    signal.setitimer(signal.ITIMER_PROF, limit_ms / 1000)
    if sys.platform == "linux":
        # Only what nobody else wants of the processor.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        # Data segment and private mappings together, as /proc/self/statm counts them.
        had = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (had + MEMORY_BYTES,) * 2)
        # Should memory be short all the same, the kernel takes this process, and none that serves others.
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
    else:
        os.nice(_NICE)


if __name__ == "__main__":
    main()
