"""Reads how many processors and how much memory this process may use."""

import math
import os
from pathlib import Path

_CGROUP_2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")

_MEMORY = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")


def cores() -> int:
    """Return the number of processors that this process may run on, or its container's limit if that is lower."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(available, math.ceil(_quota() or available)))


def _quota() -> float | None:
    """Return how many processors' time the container may use; None if there is no limit.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (`cpu.max`), and cgroup version 1.
    """
    try:
        if _CGROUP_2.exists():
            quota, period = _CGROUP_2.read_text().split()
        else:
            quota, period = (path.read_text().strip() for path in _CGROUP_1)
        return int(quota) / int(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError):
        return None


def memory_bytes() -> int:
    """Return the memory of the machine, bytes, or its container's limit if that is lower (`memory.max`)."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _MEMORY:
        try:
            return min(installed, int(path.read_text()))
        except (OSError, ValueError):
            # There is no such file, or no limit in it.
            continue
    return installed
