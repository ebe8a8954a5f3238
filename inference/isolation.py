"""Has files decoded in processes of their own, which are ended when their time is up or nobody waits any more."""

import asyncio
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
from pathlib import Path

import numpy as np

from inference.isolated import DECODE, LENGTH, MESSAGE, STOP
from model.errors import ImageError, NotAnImage, TooCostly, TooManyPixels
from model.images.decode import Decoded
from model.recipe import Recipe

# The process that decodes strangers' files sees no setting and no secret, only what Python needs to run.
_INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
# glibc takes large pieces of memory in pages of 2 MB where the system lends them: a quarter less time for an image of
# 50 megapixels, which the kernel spends on pages otherwise.
_OF_ITS_OWN = {"OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
_CODE = Path(__file__).parent.parent
_MOST_ANSWER_BYTES = 64 * 1024 * 1024
_ERRORS: dict[str, type[ImageError]] = {error.__name__: error for error in (NotAnImage, TooManyPixels)}


@dataclass(frozen=True, slots=True)
class Isolated:
    """What came of a file: the image or what is wrong with it, and the processor time that it took, seconds."""

    result: Decoded | ImageError
    cpu_s: float


class Isolation:
    """The process that forks a child for each file; started when it is first needed, and again if it dies.

    Args:
        recipe: how the model takes images.
        max_pixels: the most that an image may have.
    """

    def __init__(self, recipe: Recipe, max_pixels: int) -> None:
        self._recipe = recipe
        self._task = json.dumps({"recipe": recipe.to_dict(), "max_pixels": max_pixels})
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    async def decode(self, data: bytes, exact: bool, cpu_s: float) -> Isolated:
        """Decode a file within so much processor time, seconds; where this is cancelled, its process ends at once."""
        loop = asyncio.get_running_loop()
        number = next(self._numbers) % 2**32
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            with theirs, _file_of(data) as file:
                self._tell(MESSAGE.pack(DECODE, number, exact, max(1, int(cpu_s * 1000))), [file, theirs.fileno()])
            answer = bytearray()
            try:
                while part := await loop.sock_recv(ours, 1 << 18):
                    answer += part
                    if len(answer) > _MOST_ANSWER_BYTES:
                        break
            except ConnectionError:
                answer.clear()
            except asyncio.CancelledError:
                self._tell(MESSAGE.pack(STOP, number, False, 0))
                raise
        return self._read(bytes(answer), cpu_s)

    def start(self) -> None:
        """Start the process, where it does not run."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._control, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "inference.isolated", str(theirs.fileno()), self._task],
                cwd=_CODE,
                env={**environment, **_OF_ITS_OWN},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def close(self) -> None:
        """End the process, and whatever it decodes."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._control = self._process = None

    def _tell(self, message: bytes, handles: list[int] | None = None) -> None:
        self.start()
        assert self._control is not None
        # (One that died meanwhile leaves the answer empty, as one that was ended does.)
        with suppress(OSError):
            socket.send_fds(self._control, [message], handles or [])

    def _read(self, answer: bytes, cpu_s: float) -> Isolated:
        """Read the answer; none at all means that the process was ended."""
        costly = Isolated(TooCostly("The image takes too much work to decode; save it anew as JPEG or PNG."), cpu_s)
        if len(answer) < LENGTH.size:
            return costly
        end = LENGTH.size + LENGTH.unpack_from(answer)[0]
        said, pixels = json.loads(answer[LENGTH.size : end]), answer[end:]
        if "error" in said:
            known = _ERRORS.get(said["error"])
            return Isolated(known(said["message"]), said["cpu_s"]) if known else costly
        shape = (self._recipe.height, self._recipe.width, 3)
        decoded = Decoded(np.frombuffer(pixels, np.uint8).reshape(shape), said["width"], said["height"], said["format"])
        return Isolated(decoded, said["cpu_s"])


@contextmanager
def _file_of(data: bytes) -> Iterator[int]:
    """A file in memory that holds the data; where the system has none, one that lies on disk without a name."""
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
