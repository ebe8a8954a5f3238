"""Decodes each unusual image file in a process of its own, which can be killed: at its limits, or if nobody waits."""

import asyncio
import errno
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from configs.data_folder import PROJECT
from inference.decoder_process import DECODE, LENGTH, MESSAGE, STOP
from model.errors import ImageError, NotAnImage, TooCostly, TooManyPixels
from model.images.decode import Decoded
from model.recipe import Recipe

# The process that decodes the callers' files gets no setting and no secret: only what Python needs to run.
_INHERITED_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
# The last one makes glibc use pages of 2 MB for large blocks, if the system has them. That saves a quarter of the time
# of an image of 50 megapixels, which the kernel would spend on small pages.
_OWN_VARIABLES = {
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
_MOST_ANSWER_BYTES = 64 * 1024 * 1024
_ERRORS: dict[str, type[ImageError]] = {error.__name__: error for error in (NotAnImage, TooManyPixels)}
_TOO_MUCH_WORK = "The image takes too much work to decode; save it as a baseline JPEG or as PNG, or make it smaller."


@dataclass(frozen=True, slots=True)
class IsolatedResult:
    """A decoded image, or the error, and the processor time that it took, seconds."""

    result: Decoded | ImageError
    cpu_s: float


class IsolatedDecoder:
    """Decodes files through the fork server (see `decoder_process.py`).

    The fork server is started when it is first needed, and again if it has died. It takes 26 MB, and 0.2 s to start.

    Args:
        recipe: how the model takes images.
        max_pixels: the most pixels that an image may have.
    """

    def __init__(self, recipe: Recipe, max_pixels: int) -> None:
        self._recipe = recipe
        self._task = json.dumps({"recipe": recipe.to_dict(), "max_pixels": max_pixels})
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    async def decode(self, data: bytes, exact: bool, cpu_s: float) -> IsolatedResult:
        """Decode a file in a child process. If this is cancelled, the child is killed at once.

        Args:
            data: the file.
            exact: whether to resize exactly as the reference does, or faster.
            cpu_s: the most processor time, seconds.

        Raises:
            OSError: the fork server could not be started, or the system has no file handle left, or it has killed the
                process that decoded, as it does when memory is short.
        """
        loop = asyncio.get_running_loop()
        number = next(self._numbers) % 2**32
        self._start()
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            with theirs, _file_of(data) as file:
                self._send(MESSAGE.pack(DECODE, number, exact, max(1, int(cpu_s * 1000))), [file, theirs.fileno()])
            answer = bytearray()
            try:
                while part := await loop.sock_recv(ours, 1 << 18):
                    answer += part
                    if len(answer) > _MOST_ANSWER_BYTES:
                        break
            except ConnectionError:
                answer.clear()
            except asyncio.CancelledError:
                self._send(MESSAGE.pack(STOP, number, False, 0))
                raise
        return self._read(bytes(answer), cpu_s)

    def _start(self) -> None:
        """Start the fork server, unless it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._control, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "inference.decoder_process", str(theirs.fileno()), self._task],
                cwd=PROJECT,
                env={**environment, **_OWN_VARIABLES},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def close(self) -> None:
        """Kill the fork server and its children."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._control = self._process = None

    def _send(self, message: bytes, handles: list[int] | None = None) -> None:
        if self._control is not None:
            # If the fork server has just died, the answer stays empty, as it does for a child that the system killed.
            with suppress(OSError):
                socket.send_fds(self._control, [message], handles or [])

    def _read(self, answer: bytes, cpu_s: float) -> IsolatedResult:
        """Read the answer. One that is empty or ends early means that the system killed the child."""
        height, width = self._recipe.height, self._recipe.width
        begins = LENGTH.size
        ends = begins + LENGTH.unpack_from(answer)[0] if len(answer) >= begins else begins
        fields = json.loads(answer[begins:ends]) if begins < ends <= len(answer) else None
        if fields and "error" in fields:
            if fields["error"] in _ERRORS:
                return IsolatedResult(_ERRORS[fields["error"]](fields["message"]), fields["cpu_s"])
            return IsolatedResult(TooCostly(_TOO_MUCH_WORK), cpu_s)
        if not fields or len(answer) - ends != height * width * 3:
            raise ChildProcessError(errno.ECHILD, "its process was killed, perhaps because memory is short")
        pixels = np.frombuffer(answer[ends:], np.uint8).reshape(height, width, 3)
        return IsolatedResult(Decoded(pixels, fields["width"], fields["height"], fields["format"]), fields["cpu_s"])


@contextmanager
def _file_of(data: bytes) -> Iterator[int]:
    """Yield the descriptor of a file in memory with this data, or of a temporary file if the system has no memfd."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("image")
        try:
            os.truncate(file, len(data))
            os.pwrite(file, data, 0)
            yield file
        finally:
            os.close(file)
    else:
        with tempfile.TemporaryFile() as opened:
            opened.write(data)
            opened.flush()
            yield opened.fileno()
