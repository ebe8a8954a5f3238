"""What a server costs, seen from outside: processor time and memory of all its processes, and whether it answers.

Processor time is that of every process that lives, and of those that died and were waited for: the kernel adds a dead
process' time to its parent's (`cutime` and `cstime` of /proc/PID/stat). Memory is the proportional share (PSS) of what
is no file: anonymous and shared memory, each page counted once however many processes share it.
"""

import contextlib
import http.client
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_EVERY_S, PROBE_EVERY_S = 0.005, 0.01
# A server is at rest where it has used no more than that share of a core for so long.
IDLE_SHARE, IDLE_FOR_S = 0.2, 0.2
# What takes more than this would take the machine that runs the tests along: it is killed, and has failed.
KILL_ABOVE_MB = 3000


def processes(root: int) -> list[int]:
    """The process and all that descend from it."""
    found = [root]
    for pid in found:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError):
                    found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def cpu_s(root: int) -> float:
    """The seconds of processor time that they have used, the dead among them too."""
    ticks = 0
    for pid in processes(root):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


def memory_mb(root: int) -> float:
    """The memory of all of them together, each page once."""
    return sum(_kilobytes(pid, "smaps_rollup", ("Pss_Anon:", "Pss_Shmem:")) for pid in processes(root)) / 1024


def _memory_at_most_mb(root: int) -> float:
    """As `memory_mb`, pages that are shared counted for each: many times cheaper to ask for."""
    return sum(_kilobytes(pid, "status", ("RssAnon:", "RssShmem:")) for pid in processes(root)) / 1024


def _kilobytes(pid: int, file: str, names: tuple[str, ...]) -> int:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(names))
    return 0


def becomes_idle_within(root: int, seconds: float) -> bool:
    """Whether it comes to rest in that time."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        began, before = time.monotonic(), cpu_s(root)
        time.sleep(IDLE_FOR_S)
        if cpu_s(root) - before <= IDLE_SHARE * (time.monotonic() - began):
            return True
    return False


@dataclass(frozen=True)
class IdleUsage:
    """A server to which nothing is sent.

    Attributes:
        memory_mb: the memory that it takes.
        probe_cpu_s: the processor time of an answer to `/livez`, with which the meter itself troubles the server.
    """

    memory_mb: float
    probe_cpu_s: float


def measure_idle(root: int, port: int, probes: int = 100) -> IdleUsage:
    """What the server is like now."""
    before, connection = cpu_s(root), http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(probes):
        connection.request("GET", "/livez")
        connection.getresponse().read()
        time.sleep(PROBE_EVERY_S)
    connection.close()
    return IdleUsage(memory_mb(root), (cpu_s(root) - before) / probes)


class Meter:
    """Measures a server from its start to its `stop`.

    Args:
        root: the process that started the server's others.
        port: where it listens.
        idle: what it takes when nothing is sent; what it keeps of earlier requests is none of it.

    Attributes:
        cpu_s: processor time used, without what the meter's own questions took.
        memory_mb: the most memory, above that at rest.
        pause_ms: the longest that `/livez` took to answer, asked every 10 ms on a connection of its own.
        was_killed: whether it took so much memory that the meter ended it.
    """

    def __init__(self, root: int, port: int, idle: IdleUsage) -> None:
        self._root, self._port, self._idle, self._probes = root, port, idle, 0
        self.cpu_s, self.memory_mb, self.pause_ms, self.was_killed = 0.0, 0.0, 0.0, False
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._sample), threading.Thread(target=self._probe)]
        self._cpu_before = cpu_s(self._root)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        if not self._over.is_set():
            self.cpu_s = cpu_s(self._root) - self._cpu_before - self._probes * self._idle.probe_cpu_s
            self._over.set()
        for thread in self._threads:
            thread.join()

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_EVERY_S):
            if _memory_at_most_mb(self._root) - self._idle.memory_mb > self.memory_mb:
                self.memory_mb = max(self.memory_mb, memory_mb(self._root) - self._idle.memory_mb)
            if self.memory_mb > KILL_ABOVE_MB:
                self._kill_largest()

    def _kill_largest(self) -> None:
        self.was_killed = True
        largest = max(processes(self._root), key=lambda pid: _kilobytes(pid, "status", ("RssAnon:",)))
        with contextlib.suppress(ProcessLookupError):
            os.kill(largest, signal.SIGKILL)

    def _probe(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._over.wait(PROBE_EVERY_S):
            began = time.perf_counter()
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/livez")
                connection.getresponse().read()
            self._probes += 1
            self.pause_ms = max(self.pause_ms, (time.perf_counter() - began) * 1000)
        connection.close()
