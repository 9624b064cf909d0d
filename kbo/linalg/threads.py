"""How many threads BLAS uses while kbo works: one where more do not pay or would only wait.

Two threads factorise a matrix of 800 rows as quickly as one does, and two of 1,500 rows in two
thirds of the time (measured on two cores). And where other processes use the same cores, OpenBLAS's
threads wait for each other at every step: four fits at a time on two cores, of two threads each,
took 34 times as long as one fit alone, and of one thread each, 2 times.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time

from threadpoolctl import ThreadpoolController

from .._threads import available

SMALL = 800  # rows up to which one thread is as quick
BRIEF = 400  # rows of a factorisation that says nothing about the machine
ENOUGH = 0.05  # seconds of factorisations after which they do
CROWDED = 1.5  # wall-clock time of factorisations, in units of their thread's own time


_UNWATCHED = contextlib.nullcontext()


class BlasThreads(threading.local):
    """The number of threads of the BLAS libraries that NumPy and SciPy have loaded.

    It belongs to the process, and one Python thread at a time may set it (see threadpoolctl): what
    the others ask for meanwhile has no effect.
    """

    def __init__(self):
        self._limits = None  # of the outermost context that is open
        self._wall = self._own = 0.0

    @functools.cached_property
    def _blas(self):
        return ThreadpoolController().select(user_api="blas")

    def _limit(self, most):
        now = [pool.get_num_threads() or 1 for pool in self._blas.lib_controllers]
        return self._blas.limit(limits=min([most, *now]))

    @contextlib.contextmanager
    def sized(self, n):
        """Inside, as many threads as pay for matrices of n rows."""
        outermost = self._limits is None
        with contextlib.ExitStack() as limits:
            limits.enter_context(self._limit(1 if n <= SMALL else available()))
            if outermost:
                self._limits, self._wall, self._own = limits, 0.0, 0.0
            try:
                yield
            finally:
                if outermost:
                    self._limits = None

    def watched(self, n):
        """Watch a factorisation of n rows: if it waits for its cores, what follows uses one thread.

        Only in this case do the last digits of a result depend on what else the machine does.
        """
        return self._watched() if n > BRIEF and self._limits is not None else _UNWATCHED

    @contextlib.contextmanager
    def _watched(self):
        wall, own = time.perf_counter(), time.thread_time()
        yield
        wall, own = time.perf_counter() - wall, time.thread_time() - own
        self._wall, self._own = self._wall + wall, self._own + own
        if self._wall > max(ENOUGH, CROWDED * self._own):
            self._limits.enter_context(self._limit(1))
            self._wall = self._own = 0.0


blas_threads = BlasThreads()
