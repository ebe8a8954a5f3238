"""What the processes of a server owe each other."""

import asyncio
import ctypes
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import psutil
from circus.sighandler import SysHandler

from runtime import listening

OUTLIVES_AT_MOST_S = 25.0
OUTLIVES_AN_ORPHAN_S = 2.0
WORKERS_ARE_TOLD_WITHIN_S = 0.2
GARBAGE_ROUND_EVERY = 50_000  # objects more than were freed since the last
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def end_with_parent() -> None:
    """Have this process end, as on SIGTERM, when the one that started it dies.

    BentoML's supervisor gives workers process groups of their own: killed by SIGKILL, it would leave them serving on
    its port, where its successor could not start. Linux alone can be asked for this; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def step_back(nice: int) -> None:
    """Have this thread, and those it starts, leave the processor to others that want it, the more the higher `nice` is.

    For threads that decode: the event loop, which needs little, is then never kept from answering by them, nor is the
    engine kept from computing. Linux alone gives threads a priority of their own; elsewhere nothing happens.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


def collect_seldom() -> None:
    """Take what was loaded at the start out of the garbage collector's rounds, and have these come less often.

    A full round over all that a service has loaded stops every request for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_ROUND_EVERY)


def refuse_when_ending() -> None:
    """Has this supervisor close its port when it is told to end, without losing a caller who has a connection already.

    First no new connection begins, and workers accept those that were made; then the workers are told to end. The port
    is closed as they close theirs: the supervisor holds it until they have ended, and who connects in between would
    wait all that time, for nobody. Workers that end for another reason leave the port to their successors.
    """
    end, begun = SysHandler.quit, threading.Event()

    async def close_and_end(handler: SysHandler) -> None:
        # Runners, which listen on files, are there for the gateways to the last.
        sockets = handler.controller.arbiter.sockets.values()
        ports = [one for one in sockets if one.family in (socket.AF_INET, socket.AF_INET6)]
        try:
            await listening.let_in_the_last(ports)
        finally:
            end(handler)
        await asyncio.sleep(WORKERS_ARE_TOLD_WITHIN_S)
        listening.close(ports)

    def begin(handler: SysHandler) -> None:
        # A supervisor that is told again is ending already; so it is once circus has put its own handlers away.
        if not begun.is_set():
            begun.set()
            handler._old |= dict.fromkeys((signal.SIGINT, signal.SIGTERM), signal.SIG_IGN)
            handler.controller.loop.add_callback_from_signal(close_and_end, handler)

    SysHandler.quit = begin


def on_end(act: Callable[[], None]) -> None:
    """Have this worker do something as soon as it is told to end (SIGTERM), before anything else that this sets off.

    Called on the event loop of a worker, where its HTTP server has its own handler in place.
    """
    loop, end = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)

    def act_first(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(act)
        if callable(end):
            end(number, frame)

    signal.signal(signal.SIGTERM, act_first)


def outlive(service: str) -> None:
    """Have this worker put SIGTERM off until the workers of that service, its callers, have ended.

    BentoML's supervisor ends all workers at once: a request under way in a gateway would find its runner gone. Called
    on the event loop of a worker, where its HTTP server has its own handler in place.
    """
    loop, supervisor = asyncio.get_running_loop(), os.getppid()
    end = signal.getsignal(signal.SIGTERM)

    async def end_after_callers(number: int) -> None:
        give_up = time.monotonic() + OUTLIVES_AT_MOST_S
        while time.monotonic() < give_up and _has_worker(supervisor, service):
            await asyncio.sleep(0.1)
        if os.getppid() != supervisor:
            # Whose workers those were nobody can tell any more.
            await asyncio.sleep(OUTLIVES_AN_ORPHAN_S)
        if callable(end):
            end(number, None)

    waiting: list[asyncio.Task[None]] = []

    def begin(number: int) -> None:
        if not waiting:
            waiting.append(loop.create_task(end_after_callers(number)))

    def put_off(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(begin, number)

    signal.signal(signal.SIGTERM, put_off)


def _has_worker(supervisor: int, service: str) -> bool:
    """Whether a worker of that service still runs below the supervisor."""
    try:
        workers = psutil.Process(supervisor).children()
        return any(service in worker.cmdline() for worker in workers if worker.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
