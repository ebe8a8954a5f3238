"""Runs modules in forks of one process that has imported torch and transformers: importing them takes seconds.

A fork does what `python -m MODULE` does: it has the given arguments, environment and standard input, and returns output
and exit status. But libraries that read a variable when they are imported, such as `HF_ENDPOINT`, saw that of the first
process: `imported_with` asks for a first process that has those variables.
"""

import atexit
import gc
import json
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

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
    """The process that has imported torch. It forks once for each line on its standard input, and ends with it."""

    def __init__(self, imported_with: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "testing.warm_python"],
            cwd=_PROJECT,
            env={**os.environ, **_ENVIRONMENT, **imported_with},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def fork(self, order: dict[str, Any]) -> int:
        """Run a module in a fork, and return its exit status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            print(json.dumps(order), file=self._process.stdin, flush=True)
            return int(self._process.stdout.readline())

    def close(self) -> None:
        # Leaving the block closes the streams, and waits until the process has ended.
        with self._process:
            pass


def _fork_for_each_order() -> None:
    # OpenVINO's converter sends usage data to its maker; without this package it uses a stub that sends nothing.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    for module in _IMPORTED:
        import_module(module)
    # A garbage collection in a fork would look at all of it, and copy it.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        assert len(os.listdir("/proc/self/task")) == 1, "a process with several threads can't be forked safely"
        child = os.fork()
        if child == 0:
            os._exit(_run(**json.loads(line)))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


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
    _fork_for_each_order()
