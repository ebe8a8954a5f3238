"""Process lifecycle: signals, the death of the parent, thread priority."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import psutil

from runtime import listening
from runtime.program import ENDS_WITHIN_S, heeded_signals

if TYPE_CHECKING:
    from circus.sighandler import SysHandler

# Programs of this project end by themselves a second before that.
CHILD_ENDS_WITHIN_S = ENDS_WITHIN_S + 1
DELAY_AT_MOST_S = 25.0
DELAY_AS_ORPHAN_S = 2.0
WORKERS_GET_SIGTERM_WITHIN_S = 0.2
# At most this many dead workers are replaced at once in that time: one that dies at each start would use a whole core.
AT_ONCE, IN_S = 5, 60.0
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
# Loaded here, since a process that has just been forked must not wait for the loader.
_LIBC = ctypes.CDLL(None)


def end_with_parent() -> None:
    """Have the kernel send this process SIGTERM when its parent dies. Linux only; elsewhere nothing happens.

    BentoML gives its workers process groups of their own. When its supervisor is killed by SIGKILL, they would keep
    serving on its port, and a new supervisor could not start.
    """
    if sys.platform == "linux":
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def run_child(command: list[str], timeout: float | None = None, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command as `subprocess.run` does. If a signal ends this process meanwhile, end the command too.

    Otherwise a start that is stopped would leave the preparation of its model running, for minutes. The command gets
    SIGTERM, and `CHILD_ENDS_WITHIN_S` for deleting what it has left unfinished. Where the signal is SIGKILL, the kernel
    sends the SIGTERM (Linux only).
    """
    with subprocess.Popen(command, preexec_fn=end_with_parent, **options) as process:

        def end(number: int, _frame: FrameType | None) -> None:
            for other in before:
                signal.signal(other, signal.SIG_IGN)
            sys.exit(128 + number)

        is_main = threading.current_thread() is threading.main_thread()
        before = {number: signal.signal(number, end) for number in (heeded_signals() if is_main else [])}
        try:
            output, errors = process.communicate(timeout=timeout)
        except (KeyboardInterrupt, SystemExit, subprocess.TimeoutExpired):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(CHILD_ENDS_WITHIN_S)
            process.kill()
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def lower_priority(nice: int) -> None:
    """Lower the priority of this thread and of those it starts: a higher `nice` gives more time to other threads.

    For threads that decode images: they must not delay the event loop or the engine. Linux only, where each thread has
    a priority of its own; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


def close_listeners_on_shutdown() -> None:
    """Have the supervisor close its port on SIGTERM, without losing a caller who has already connected.

    First no new connection is let in, and the workers accept those in the queue of the socket. Then the workers get
    SIGTERM, and the supervisor closes the port. By itself it would keep the port open until the workers have exited: a
    caller who connects in that time would wait for a worker that never accepts. A worker that exits for another reason
    leaves the port open for its successor.

    Replaces `circus.sighandler.SysHandler.quit`, which handles SIGTERM in BentoML's supervisor. circus has no hook that
    runs before it.
    """
    # Imported only here: workers need none of circus.
    from circus.sighandler import SysHandler

    end, begun = SysHandler.quit, threading.Event()

    async def close_and_end(handler: "SysHandler") -> None:
        # Runners listen on Unix sockets: gateways need them until the end.
        sockets = handler.controller.arbiter.sockets.values()
        ports = [one for one in sockets if one.family in (socket.AF_INET, socket.AF_INET6)]
        try:
            await listening.drain_accept_queue(ports)
        finally:
            end(handler)
        await asyncio.sleep(WORKERS_GET_SIGTERM_WITHIN_S)
        listening.close(ports)

    def begin(handler: "SysHandler") -> None:
        # A second signal changes nothing, also after circus has put back the handlers from before it (`_old`).
        if not begun.is_set():
            begun.set()
            handler._old |= dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN)
            handler.controller.loop.add_callback_from_signal(close_and_end, handler)

    SysHandler.quit = begin


def end_on_hangup() -> None:
    """Have SIGHUP, which comes when a terminal is closed, end the supervisor as SIGTERM does; under `nohup` it goes on.

    By itself the supervisor would start its workers anew, and serve on without a terminal.
    """
    # Imported only here: workers need none of circus.
    from circus.sighandler import SysHandler

    is_ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    SysHandler.SIGNALS = [one for one in SysHandler.SIGNALS if one != signal.SIGHUP or not is_ignored]
    SysHandler.handle_hup = SysHandler.handle_term


def replace_dead_workers_at_once() -> None:
    """Have the supervisor look after its workers as soon as one has died: BentoML has it look every ten seconds only.

    If that is impossible, because circus is busy with its workers or because they die again and again, the next of
    BentoML's own looks replaces them.
    """
    # Imported only here: workers need none of circus.
    from circus.exc import ConflictError
    from circus.process import DEAD_OR_ZOMBIE
    from circus.sighandler import SysHandler

    replaced: deque[float] = deque(maxlen=AT_ONCE)

    async def look(handler: "SysHandler") -> None:
        # The signal also comes when a worker was stopped and goes on, and when another child has ended.
        arbiter, now = handler.controller.arbiter, time.monotonic()
        workers = [worker for watcher in arbiter.iter_watchers() for worker in watcher.processes.values()]
        is_one_dead = any(worker.status == DEAD_OR_ZOMBIE for worker in workers)
        if is_one_dead and (len(replaced) < AT_ONCE or now - replaced[0] > IN_S):
            replaced.append(now)
            with contextlib.suppress(ConflictError):
                await arbiter.manage_watchers()

    def begin(handler: "SysHandler") -> None:
        handler.controller.loop.add_callback_from_signal(look, handler)

    SysHandler.SIGNALS = [*SysHandler.SIGNALS, signal.SIGCHLD]
    # The signal has another name too: `cld`.
    SysHandler.SIG_NAMES = {**SysHandler.SIG_NAMES, signal.SIGCHLD: "chld"}
    SysHandler.handle_chld = begin


def on_sigterm(act: Callable[[], None]) -> None:
    """Call a function on the event loop when this worker gets SIGTERM, before its HTTP server handles the signal.

    Call this on the event loop of a worker, once its HTTP server has installed its own handler.
    """
    loop, end = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)

    def act_first(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(act)
        if callable(end):
            end(number, frame)

    signal.signal(signal.SIGTERM, act_first)


def delay_sigterm_until_exited(service: str) -> None:
    """Delay the SIGTERM of this worker until the workers of another service, which call it, have exited.

    BentoML's supervisor sends SIGTERM to all workers at once: a request under way in a gateway would find its runner
    gone. Call this on the event loop of a worker, once its HTTP server has installed its own handler.

    Args:
        service: the name of the service whose workers call this one.
    """
    loop, supervisor = asyncio.get_running_loop(), os.getppid()
    end = signal.getsignal(signal.SIGTERM)

    async def end_after_callers(number: int) -> None:
        give_up = time.monotonic() + DELAY_AT_MOST_S
        while time.monotonic() < give_up and _has_worker(supervisor, service):
            await asyncio.sleep(0.1)
        if os.getppid() != supervisor:
            # The supervisor died, so its workers can't be found any more: give them a fixed time.
            await asyncio.sleep(DELAY_AS_ORPHAN_S)
        if callable(end):
            end(number, None)

    waiting: list[asyncio.Task[None]] = []

    def begin(number: int) -> None:
        if not waiting:
            waiting.append(loop.create_task(end_after_callers(number)))

    def delay(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(begin, number)

    signal.signal(signal.SIGTERM, delay)


def _has_worker(supervisor: int, service: str) -> bool:
    """Return whether the supervisor still has a running worker of that service."""
    try:
        workers = psutil.Process(supervisor).children()
        return any(service in worker.cmdline() for worker in workers if worker.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
