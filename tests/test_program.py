"""Programs of this project that a signal ends: they delete what they have left unfinished, and end soon."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.processes import CHILD_ENDS_WITHIN_S
from runtime.program import ENDS_WITHIN_S
from testing.servers import PROJECT, inherited
from testing.waiting import PATIENCE_S, wait_until

# Each is a `main` that is interrupted while it has a temporary folder.
WAITS = "time.sleep(600)"
HAS_A_THREAD = "threading.Thread(target=time.sleep, args=[600]).start(); time.sleep(600)"
RUNS_A_COMMAND = "run_child([sys.executable, '-c', deaf])"
IS_SIGNALLED_TWICE = """
        try: time.sleep(600)
        finally: os.kill(os.getpid(), signal.SIGTERM)"""
PROGRAM = """
import os, runpy, signal, sys, tempfile, threading, time, types
from runtime.processes import run_child
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
def main():
    with tempfile.TemporaryDirectory(dir={folder!r}) as name:
        open(name + "/begun", "w").close()
        {work}
sys.modules[{main!r}] = types.SimpleNamespace(main=main)
runpy.run_module({module!r}, run_name="__main__")
"""
MAINS = {
    "model.prepare": "model.prepare.preparation",
    "model.tune": "model.tune.tuning",
    "model.quantize": "model.quantize.quantization",
    "auth": "auth.cli.main",
}


@contextmanager
def started(module: str, work: str, folder: Path) -> "Iterator[subprocess.Popen[str]]":
    """Run the program, and wait until its `main` works in a folder in that one."""
    code = PROGRAM.format(folder=str(folder), work=work, module=module, main=MAINS[module])
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=inherited(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            wait_until(lambda: list(folder.glob("*/begun")), "it works")
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("work", [WAITS, IS_SIGNALLED_TWICE], ids=["once", "twice"])
@pytest.mark.parametrize("module", MAINS)
def test_a_signal_ends_a_program_after_it_has_tidied_up(
    tmp_path: Path, module: str, work: str, number: signal.Signals
) -> None:
    with started(module, work, tmp_path) as process:
        process.send_signal(number)
        assert process.communicate(timeout=PATIENCE_S)[0] == ""
    assert process.returncode == 128 + number
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_heeds_no_signal_is_killed_in_time(tmp_path: Path, number: signal.Signals) -> None:
    with started("model.tune", RUNS_A_COMMAND, tmp_path) as process:
        time.sleep(0.5)
        process.send_signal(number)
        process.communicate(timeout=CHILD_ENDS_WITHIN_S + PATIENCE_S)
    assert process.returncode == 128 + number
    assert not list(tmp_path.iterdir())


def test_a_program_does_not_wait_for_its_threads(tmp_path: Path) -> None:
    with started("model.prepare", HAS_A_THREAD, tmp_path) as process:
        process.terminate()
        process.communicate(timeout=ENDS_WITHIN_S + PATIENCE_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("work", [WAITS, RUNS_A_COMMAND], ids=["itself", "a command of it"])
def test_under_nohup_a_program_goes_on_without_its_terminal(tmp_path: Path, work: str) -> None:
    was = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with started("model.prepare", work, tmp_path) as process:
        signal.signal(signal.SIGHUP, was)
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.terminate()
        process.communicate(timeout=CHILD_ENDS_WITHIN_S + PATIENCE_S)
    assert process.returncode == 128 + signal.SIGTERM
