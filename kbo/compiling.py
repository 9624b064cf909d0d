"""How long this process has compiled."""

from __future__ import annotations

import threading

import jax

EVENTS = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
_lock = threading.Lock()
_seconds = 0.0


def compile_seconds() -> float:
    """Seconds that JAX has spent on lowering and compiling programs, since kbo was imported.

    It counts all programs of the process. Its difference before and after a call is the part of
    the call that the next one, with samples of about the same size, does not take again. What JAX
    finds in its persistent cache counts with the time to load it; Python's tracing of the functions
    does not count.

    Returns
    -------
    float

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import kbo
    >>> before = kbo.compile_seconds()
    >>> function = jax.jit(lambda x: jnp.sin(x) ** 2)
    >>> value = function(1.0)
    >>> first = kbo.compile_seconds() - before
    >>> value = function(2.0)
    >>> 0 < first == kbo.compile_seconds() - before
    True
    """
    return _seconds


def _count(event, seconds, **_more):
    global _seconds  # noqa: PLW0603
    if event in EVENTS:
        with _lock:
            _seconds += seconds


jax.monitoring.register_event_duration_secs_listener(_count)
