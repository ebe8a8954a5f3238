"""Runs modules in forks of one process that has imported torch and transformers: importing them takes seconds.

All processes of a run of the tests share it: the first that needs it starts it, and it ends with the last of them.

A fork does what `python -m MODULE` does: it has the given arguments, environment and standard input, and returns output
and exit status. But libraries that read a variable when they are imported, such as `HF_ENDPOINT`, saw that of the first
process: `imported_with` asks for a first process that has those variables.
"""

import atexit
import contextlib
import hashlib
import json
import os
import runpy
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from runtime.garbage_collection import collect_rarely, freeze_gc

_PROJECT = Path(__file__).parent.parent
# What a preparation imports of other packages. BentoML is not among them: it reads settings when it is imported.
_IMPORTED = (
    "httpx",
    "openvino.frontend.pytorch.ts_decoder",
    "openvino.tools.ovc",
    "pydantic_settings",
    "rich.console",
    "safetensors.torch",
    "sqlalchemy.engine",
    "torch.jit",
    "transformers.image_utils",
    "transformers.models.auto.image_processing_auto",
    "transformers.models.auto.modeling_auto",
)
# With one thread, numpy and torch start no others: a process that has several can't be forked safely.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_TELEMETRY": "1"}


def run(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    stdin: str = "",
    imported_with: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.CompletedProcess[str]:
    """Run a module as `python -m` does, in the project's folder, and return what it said and its exit status.

    Args:
        module: the module.
        arguments: of its command line.
        environment: all of its environment variables.
        stdin: what it reads on standard input.
        imported_with: what a library reads when it is imported. All runs with the same variables share a process, so
            few tests should have others.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "stdin").write_text(stdin)
        order = {"module": module, "arguments": arguments, "environment": dict(environment), "folder": name}
        status = _first_process(tuple(sorted(imported_with.items()))).fork(order)
        command = [sys.executable, "-m", module, *arguments]
        stdout, stderr = ((folder / stream).read_text() for stream in ("stdout", "stderr"))
        return subprocess.CompletedProcess(command, status, stdout, stderr)


@cache
def _first_process(imported_with: tuple[tuple[str, str], ...]) -> "_FirstProcess":
    process = _FirstProcess(dict(imported_with))
    atexit.register(process.close)
    return process


class _FirstProcess:
    """A connection to the process that has imported torch, which is started if there is none."""

    def __init__(self, imported_with: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
        told = repr((run, sorted(imported_with.items())))
        # An abstract name, which is free again when the process ends, however it ends.
        name = f"\0warm python {hashlib.sha256(told.encode()).hexdigest()}"
        self._started: subprocess.Popen[bytes] | None = None
        while not self._connect(name):
            # There is none, or it has just ended with the last that needed it.
            assert self._started is None or self._started.wait() == 0, "the process that imports torch has failed"
            with socket.socket(socket.AF_UNIX) as listener, contextlib.suppress(OSError):
                listener.bind(name)
                listener.listen()
                self._started = _start(listener, imported_with)

    def fork(self, order: dict[str, Any]) -> int:
        """Run a module in a fork, and return its exit status."""
        with self._lock:
            print(json.dumps(order), file=self._orders, flush=True)
            answer = self._answers.readline()
        assert answer, "the process that forks has ended"
        return int(answer)

    def close(self) -> None:
        """Let it end, and wait until nobody else needs it, if it was started here."""
        self._orders.close()
        self._answers.close()
        if self._started is not None:
            self._started.wait()

    def _connect(self, name: str) -> bool:
        """Return whether it has imported everything; before that, it takes a connection, and lets it wait."""
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.connect(name)
            self._orders, self._answers = connection.makefile("w"), connection.makefile("r")
            return bool(self._answers.readline())
        return False


def _start(listener: socket.socket, imported_with: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "testing.warm_python", str(listener.fileno())],
        cwd=_PROJECT,
        env={**os.environ, **_ENVIRONMENT, **imported_with},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[listener.fileno()],
        start_new_session=True,
    )


class _Forks:
    """Forks for each line on a connection, and answers with the exit status, until the last connection is closed."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._callers: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._accept()
        while self._callers:
            for key, _ in self._selector.select():
                key.data()

    def _accept(self) -> None:
        caller, _ = self._listener.accept()
        _, user, _ = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if user != os.getuid():
            caller.close()
            return
        self._callers.add(caller)
        self._selector.register(caller, selectors.EVENT_READ, partial(self._fork, caller, caller.makefile("r")))
        _tell(caller, "ready")

    def _fork(self, caller: socket.socket, orders: IO[str]) -> None:
        order = ""
        with contextlib.suppress(OSError):
            order = orders.readline()
        if not order:
            self._selector.unregister(caller)
            self._callers.discard(caller)
            caller.close()
            return
        assert len(os.listdir("/proc/self/task")) == 1, "a process with several threads can't be forked safely"
        # The end of what a fork never writes to says that it has ended.
        ended, kept = os.pipe()
        child = os.fork()
        if child == 0:
            os._exit(_run(**json.loads(order)))
        os.close(kept)
        self._selector.register(ended, selectors.EVENT_READ, partial(self._tell_status, caller, child, ended))

    def _tell_status(self, caller: socket.socket, child: int, ended: int) -> None:
        self._selector.unregister(ended)
        os.close(ended)
        _tell(caller, str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))


def _tell(caller: socket.socket, line: str) -> None:
    # Who has gone meanwhile is noticed by what it sends no more.
    with contextlib.suppress(OSError):
        caller.sendall(f"{line}\n".encode())


def _fork_for_each_order(listener: socket.socket) -> None:
    # OpenVINO's converter sends usage data to its maker; without this package it uses a stub that sends nothing.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    collect_rarely()
    for module in _IMPORTED:
        import_module(module)
    # A garbage collection in a fork would look at all of it, and copy it.
    freeze_gc()
    _Forks(listener).serve()


def _run(module: str, arguments: list[str], environment: dict[str, str], folder: str) -> int:
    """Run a module in this process, with its streams in that folder, and return the exit status."""
    for number, stream in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(os.open(Path(folder) / stream, os.O_RDWR | os.O_CREAT, 0o600), number)
    # The first process may have read ahead.
    sys.stdin = os.fdopen(0, closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    _fork_for_each_order(socket.socket(fileno=int(sys.argv[1])))
