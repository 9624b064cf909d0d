"""Threads: as many as the machine gives, and none that spin; imported before NumPy and SciPy.

OpenBLAS's idle threads spin for 2²⁸ clock ticks, about 0.1 s, and meanwhile take half a core from
JAX: a reverse pass between two factorisations then takes twice its time (measured on two cores).
2²² ticks, over a millisecond, still bridge the gaps inside one factorisation. XLA starts a thread
for each core it sees, which inside a container may be more than the container may use. Both
variables are read when the libraries are loaded: they have no effect on a process that has already
done so.
"""

from __future__ import annotations

import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available(quota=QUOTA) -> int:
    """How many cores this process may use: its affinity, and the quota of its container.

    Parameters
    ----------
    quota : Path
        The file in which Linux says how many microseconds of a period the container may use.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        cores = os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if allowed == "max" else max(1, min(cores, round(int(allowed) / int(period))))


os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "22")
os.environ.setdefault("NPROC", str(available()))
