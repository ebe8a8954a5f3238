"""Measures a server from outside: processor time and memory of all its processes, and how fast it answers.

Processor time includes that of processes that have ended and were waited for: the kernel adds the time of such a
process to its parent's (`cutime` and `cstime` of /proc/PID/stat). Memory is the proportional set size (PSS) of
anonymous and shared memory, without files: a page counts once, however many processes share it.

Other processes of the machine do not change the results much: of the time of an answer, what a thread waited for a
processor does not count (the second field of /proc/PID/task/TID/schedstat, where the kernel has it).
"""

import contextlib
import http.client
import os
import re
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_EVERY_S, PROBE_EVERY_S = 0.005, 0.01
# To find all processes takes a hundred times as long as to read the size of one: new ones are looked for less often.
LOOK_EVERY_S = 0.025
# The kernel takes milliseconds to tell the PSS of a large process: it is read again where the size has changed so much.
CHANGED_BY_KB, CHANGED_BY_SHARE = 1024, 0.02
# A server is idle if it has used at most this share of a core for this time.
IDLE_SHARE, IDLE_FOR_S = 0.2, 0.2
# A server that takes more memory could exhaust the machine that runs the tests: it is killed, and the test fails.
KILL_ABOVE_MB = 3000
_PSS = ("Pss_Anon:", "Pss_Shmem:")
_OWN_MEMORY = re.compile(rb"^Rss(?:Anon|Shmem):\s+(\d+)", re.MULTILINE)


def processes(root: int) -> list[int]:
    """Return the ids of a process and all its descendants."""
    found = [root]
    for pid in found:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError):
                    found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def cpu_s(root: int) -> float:
    """Return the processor time of a process and all its descendants, including those that have ended, seconds."""
    ticks = 0
    for pid in processes(root):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


def memory_mb(root: int) -> float:
    """Return the memory of a process and all its descendants, each page counted once, MB."""
    return sum(_kilobytes(pid, "smaps_rollup", _PSS) for pid in processes(root)) / 1024


class _Memory:
    """Reads the memory of a process and all its descendants again and again, as `memory_mb` does but much faster."""

    def __init__(self, root: int) -> None:
        self._root, self._looked_at = root, -LOOK_EVERY_S
        self._processes: dict[int, _Process] = {}

    def read_mb(self) -> float:
        now = time.monotonic()
        if now >= self._looked_at + LOOK_EVERY_S:
            self._looked_at = now
            self._open_those_of(processes(self._root))
        return sum(process.read_kb() for process in self._processes.values()) / 1024

    def close(self) -> None:
        self._open_those_of([])

    def _open_those_of(self, pids: list[int]) -> None:
        for pid in self._processes.keys() - pids:
            os.close(self._processes.pop(pid).status)
        for pid in pids:
            if pid not in self._processes:
                with contextlib.suppress(OSError):
                    self._processes[pid] = _Process(pid, os.open(f"/proc/{pid}/status", os.O_RDONLY))


@dataclass
class _Process:
    """One process: its PSS when it was last read, and the size it had then, kilobytes."""

    pid: int
    status: int
    pss_kb: int = 0
    size_kb: int = 0

    def read_kb(self) -> int:
        try:
            size_kb = sum(map(int, _OWN_MEMORY.findall(os.pread(self.status, 8192, 0))))
        except OSError:
            return 0
        if abs(size_kb - self.size_kb) > CHANGED_BY_KB + CHANGED_BY_SHARE * self.size_kb:
            self.pss_kb, self.size_kb = _kilobytes(self.pid, "smaps_rollup", _PSS), size_kb
        return self.pss_kb


def _kilobytes(pid: int, file: str, names: tuple[str, ...]) -> int:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(names))
    return 0


def becomes_idle_within(root: int, seconds: float) -> bool:
    """Wait until the server is idle; False if it takes more processor time than that before it is."""
    first = cpu_s(root)
    while True:
        began, before = time.monotonic(), cpu_s(root)
        time.sleep(IDLE_FOR_S)
        after = cpu_s(root)
        if after - before <= IDLE_SHARE * (time.monotonic() - began):
            return True
        if after - first > seconds:
            return False


def event_loop(root: int) -> int | None:
    """Return the id of the process, and so of the thread, that runs the event loop of a server with one worker."""
    for pid in processes(root):
        with contextlib.suppress(OSError):
            if b"--service-name\0ImageClassifier\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    return None


def waited_ms(pid: int, thread: int) -> float:
    """Return how long a thread was ready to run and had no processor, since it began; 0 if the kernel does not tell."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[1]) / 1e6
    return 0.0


@dataclass(frozen=True)
class IdleUsage:
    """What a server uses while nothing is sent to it.

    Attributes:
        memory_mb: its memory, MB.
        probe_cpu_s: the processor time of one answer to `/livez`, seconds. The meter itself sends such requests.
    """

    memory_mb: float
    probe_cpu_s: float


def measure_idle(root: int, port: int, probes: int = 100) -> IdleUsage:
    """Measure a server while nothing else is sent to it.

    Args:
        root: the id of the process that started the server's others.
        port: where it listens.
        probes: the number of requests to `/livez`.
    """
    before, connection = cpu_s(root), http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(probes):
        connection.request("GET", "/livez")
        connection.getresponse().read()
        time.sleep(PROBE_EVERY_S)
    connection.close()
    return IdleUsage(memory_mb(root), (cpu_s(root) - before) / probes)


class Meter:
    """Measures a server from its start to its `stop`.

    Args:
        root: the id of the process that started the server's others.
        port: where it listens.
        idle: what it uses when idle. Measure it after the warm-up, so that memory kept from earlier requests is in it.

    Attributes:
        cpu_s: the processor time used, without that of the meter's own requests, seconds.
        memory_mb: the most memory, above that of the idle server, MB.
        pause_ms: the longest time of an answer to `/livez`, requested every 10 ms on a connection of its own, without
            what the event loop and the meter waited for a processor.
        was_killed: whether the meter killed the server because of its memory.
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
        """End the measurement; a second call does nothing."""
        if not self._over.is_set():
            self.cpu_s = cpu_s(self._root) - self._cpu_before - self._probes * self._idle.probe_cpu_s
            self._over.set()
        for thread in self._threads:
            thread.join()

    def _sample(self) -> None:
        memory = _Memory(self._root)
        while not self._over.wait(SAMPLE_EVERY_S):
            self.memory_mb = max(self.memory_mb, memory.read_mb() - self._idle.memory_mb)
            if self.memory_mb > KILL_ABOVE_MB:
                self._kill_largest()
        memory.close()

    def _kill_largest(self) -> None:
        self.was_killed = True
        largest = max(processes(self._root), key=lambda pid: _kilobytes(pid, "status", ("RssAnon:",)))
        with contextlib.suppress(ProcessLookupError):
            os.kill(largest, signal.SIGKILL)

    def _probe(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        loop, own = event_loop(self._root), threading.get_native_id()

        def all_waited_ms() -> float:
            return (waited_ms(loop, loop) if loop else 0.0) + waited_ms(os.getpid(), own)

        while not self._over.wait(PROBE_EVERY_S):
            began, waited = time.perf_counter(), all_waited_ms()
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/livez")
                connection.getresponse().read()
            self._probes += 1
            took_ms = (time.perf_counter() - began) * 1000
            # A worker that died meanwhile has not waited at all.
            self.pause_ms = max(self.pause_ms, took_ms - max(0.0, all_waited_ms() - waited))
        connection.close()
