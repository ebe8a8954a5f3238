"""The fork server for unusual image files: it decodes each file in a child process, with limits.

A thread that decodes can't be stopped, and a hostile file can make a decoder take any time and memory. Therefore
`IsolatedDecoder` (see `isolated_decoder.py`) starts this program once: a small process with Pillow already loaded. It
forks a child for each file. The kernel kills a child that exceeds its processor time. The child is also killed when its
caller is gone.

The protocol: each message has the size of `MESSAGE`. `DECODE` comes with two file descriptors: the file, and a socket
for the answer. The answer is the length of a JSON document (`LENGTH`), the document, and the pixels. It is empty, or
ends early, if the system has no process left for the child, or kills it because memory is short: neither is the fault
of the file. `STOP` kills the child of a file that nobody waits for any more.
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
from typing import NamedTuple

from PIL import Image

from model.errors import ImageError
from model.images.decode import decode
from model.images.formats import NAMES
from model.recipe import Recipe

# The action, the number of the file, whether to resize exactly, and the limit of processor time, milliseconds.
MESSAGE = struct.Struct("<cI?I")
DECODE, STOP = b"D", b"S"
LENGTH = struct.Struct("<I")
TOO_COSTLY = "too costly"

# The limit of a child's memory, beyond what the process has at its start. An image of 50 million pixels takes 200 MB in
# Pillow, and twice that while it is put on a white background or rotated.
MEMORY_BYTES = 425 * 1024 * 1024
_NICE = 15
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class Child(NamedTuple):
    """A child process, and the descriptor of the socket for its answer."""

    pid: int
    answer: int


class ForkServer:
    """Forks a child for each file that it receives, and kills the children whose files nobody waits for.

    Args:
        control: the socket that messages arrive on. The server ends when it is closed.
        recipe: how the model takes images.
        max_pixels: the most pixels that an image may have.
    """

    def __init__(self, control: socket.socket, recipe: Recipe, max_pixels: int) -> None:
        self._control = control
        self._recipe = recipe
        self._max_pixels = max_pixels
        self._children: dict[int, Child] = {}
        # Python writes to this pipe when a signal arrives: a child has ended.
        self._signals, signals_in = os.pipe()
        os.set_blocking(signals_in, False)
        signal.set_wakeup_fd(signals_in)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Handle messages until the control socket is closed, then kill all children."""
        handles: list[int]
        while True:
            ready, _, _ = select.select([self._control.fileno(), self._signals], [], [])
            if self._signals in ready:
                os.read(self._signals, 4096)
                self._reap()
            if self._control.fileno() not in ready:
                continue
            message, handles, _, _ = socket.recv_fds(self._control, MESSAGE.size, 2)
            if len(message) < MESSAGE.size:
                break
            self._handle(message, handles)
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)

    def _handle(self, message: bytes, handles: list[int]) -> None:
        action, number, exact, limit_ms = MESSAGE.unpack(message)
        if action == STOP and number in self._children:
            # The process id can't belong to another process yet: only this process reaps the child.
            os.kill(self._children[number].pid, signal.SIGKILL)
        elif action == DECODE:
            file, answer = handles
            try:
                child = os.fork()
            except OSError:
                os.close(answer)
            else:
                if child == 0:
                    self._leave()
                    _decode(file, answer, self._recipe, self._max_pixels, exact, limit_ms)
                self._children[number] = Child(child, answer)
            os.close(file)

    def _leave(self) -> None:
        """Close, in a new child, what belongs to the fork server and to other children."""
        signal.set_wakeup_fd(-1)
        self._control.close()
        for other in self._children.values():
            os.close(other.answer)

    def _reap(self) -> None:
        """Remove the children that have ended, and answer for those that could not."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
                [number] = [number for number, child in self._children.items() if child.pid == ended[0]]
                with socket.socket(fileno=self._children.pop(number).answer) as answer:
                    # The timer, or a decoder that broke down. Only the fork server and the system send SIGKILL.
                    if os.waitstatus_to_exitcode(ended[1]) not in (0, -signal.SIGKILL):
                        with suppress(OSError):
                            answer.send(_document({"error": TOO_COSTLY}), socket.MSG_DONTWAIT)


def main() -> None:
    """Run the fork server.

    Command line arguments: the number of the control socket; a JSON document with `recipe` and `max_pixels`.
    """
    control = socket.socket(fileno=int(sys.argv[1]))
    task = json.loads(sys.argv[2])
    recipe, max_pixels = Recipe.from_dict(task["recipe"]), int(task["max_pixels"])
    end_with(os.getppid(), signal.SIGKILL)
    # Only the control socket ends the server: until it is closed, requests under way may still need the server.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _load(recipe)
    ForkServer(control, recipe, max_pixels).serve()


def end_with(parent: int, by: signal.Signals) -> None:
    """Make the kernel send this process a signal when its parent dies. Only Linux can do this.

    Args:
        parent: the process id of the parent; if it is dead already, the signal is sent at once.
        by: the signal.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
        if os.getppid() != parent:
            os.kill(os.getpid(), by)


def _load(recipe: Recipe) -> None:
    """Decode a small image of each format, so that each child finds the decoders loaded."""
    for name in NAMES:
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, name)
        # The limit of callers may be lower.
        decode(file.getvalue(), recipe, 8 * 8)
        decode(file.getvalue(), recipe, 8 * 8, exact=False)
    gc.collect()
    gc.freeze()


def _decode(file: int, answer: int, recipe: Recipe, max_pixels: int, exact: bool, limit_ms: int) -> None:
    """Decode one file, send the answer, and end this child process."""
    status = 1
    try:
        _limit(limit_ms)
        # libtiff and others write messages about the file to standard error. They must not get into the log.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        with mmap.mmap(file, 0, prot=mmap.PROT_READ) as mapped:
            data = mapped[:]
        os.close(file)
        fields, pixels = _answer(data, recipe, max_pixels, exact)
        with socket.socket(fileno=answer) as opened:
            opened.sendall(_document({**fields, "cpu_s": time.process_time()}) + pixels)
        status = 0
    finally:
        os._exit(status)


def _document(fields: dict[str, object]) -> bytes:
    """Return the beginning of an answer, up to the pixels."""
    document = json.dumps(fields).encode()
    return LENGTH.pack(len(document)) + document


def _answer(data: bytes, recipe: Recipe, max_pixels: int, exact: bool) -> tuple[dict[str, object], bytes]:
    """Return the fields of the JSON document, and the pixels: uint8, height x width x 3."""
    try:
        decoded = decode(data, recipe, max_pixels, exact)
    except ImageError as error:
        return {"error": type(error).__name__, "message": str(error)}, b""
    except MemoryError:
        return {"error": TOO_COSTLY}, b""
    return {"width": decoded.width, "height": decoded.height, "format": decoded.format}, decoded.pixels.tobytes()


def _limit(limit_ms: int) -> None:
    """Limit the processor time and the memory of this process, and give it the lowest priority."""
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    end_with(os.getppid(), signal.SIGKILL)
    # The timer sends SIGPROF, which kills a process that does not handle it, whatever code is running.
    signal.setitimer(signal.ITIMER_PROF, limit_ms / 1000)
    if sys.platform == "linux":
        # The process runs only when no other process needs the core.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        # RLIMIT_DATA limits the data segment and private mappings together. /proc/self/statm counts the same.
        at_start = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (at_start + MEMORY_BYTES,) * 2)
        # If the machine still runs out of memory, the kernel kills this process, not one that serves requests.
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
    else:
        os.nice(_NICE)


if __name__ == "__main__":
    main()
