"""``kbo doctor``: what this installation is, and whether a hypergradient comes out right on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
import warnings

from .. import __version__
from .._threads import available
from ._text import say, table

PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "scikit-learn", "equinox", "optax", "skrub")
VARIABLES = (
    "JAX_PLATFORMS", "JAX_ENABLE_X64", "JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS", "NPROC",
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_THREAD_TIMEOUT",
)


def doctor(args) -> bool:
    """Print versions, devices, threads and a self-test; whether that came out right."""
    import jax
    from threadpoolctl import threadpool_info

    rows = [("kbo", __version__), ("python", platform.python_version()),
            ("platform", platform.platform())]
    rows += [(name, importlib.metadata.version(name)) for name in PACKAGES]
    rows += [("cores", f"{available()} of {os.cpu_count()}")]
    rows += [("device", f"{device.platform}: {device.device_kind}") for device in jax.devices()]
    right, tested = self_test()
    rows += [("BLAS", f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads")
             for pool in threadpool_info() if pool["user_api"] == "blas"]
    rows += [(name, os.environ[name]) for name in VARIABLES if name in os.environ]
    rows += [("self-test", tested)]
    print(table([{"what": what, "here": here} for what, here in rows], ["what", "here"]))
    if not right:
        say("kbo: a hypergradient of 30 points is wrong on this machine; please report the table")
    return right


def self_test():
    """Whether a hypergradient on the default device agrees with differences.

    Returns
    -------
    right : bool
    text : str
    """
    import jax
    import jax.numpy as jnp

    from .. import RKHS, BilevelProblem, Sample, check_hypergradient, kernels, losses

    started = time.perf_counter()
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = jnp.linspace(-1, 1, 60)[:, None]
        y = jnp.sin(4 * x[:, 0])
        problem = BilevelProblem(
            losses.Squared(), losses.Squared(), Sample(x[::2], y[::2]), Sample(x[1::2], y[1::2]),
            lambda omega: RKHS(kernels.Gaussian(jnp.exp(omega["lengthscale"]))),
            lambda omega: jnp.exp(omega["ridge"]),
        )
        report = check_hypergradient(problem, {"lengthscale": -1.0, "ridge": -3.0})
    seconds = time.perf_counter() - started
    verdict = "a hypergradient is right" if report.ok else "A HYPERGRADIENT IS WRONG"
    return report.ok, f"{verdict}: off by {report.relative_error:.0e}, after {seconds:.1f} s"
