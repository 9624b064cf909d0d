"""Let the thread pools of LAPACK and JAX take turns; imported before either.

OpenBLAS's idle threads spin for 2²⁸ clock ticks, about 0.1 s, and meanwhile take half a core from
JAX: a reverse pass between two factorisations then takes twice its time (measured on two cores).
2²² ticks, over a millisecond, still bridge the gaps inside one factorisation. The variable is read
when SciPy is loaded: it has no effect on a process that has already done so, nor on other BLAS.
"""

import os

os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "22")
