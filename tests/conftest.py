import gc
import itertools
import os
import socket
from pathlib import Path

import jax
import pytest
from threadpoolctl import threadpool_limits

QUICK = "--xla_backend_optimization_level=0"
if jax.__version_info__ < (0, 11):  # later versions may not know this flag, and end at an unknown one
    QUICK += " --xla_cpu_use_fusion_emitters=false"


def pytest_configure(config):
    """Quick tests run their programs once, after seconds of compiling: LLVM need not try hard.

    The slow ones, of which some measure time and memory, run as a user's programs do.
    """
    if config.option.markexpr == "not slow":
        os.environ.setdefault("XLA_FLAGS", QUICK)
    if "PYTEST_XDIST_WORKER" in os.environ:  # the workers' BLAS threads would spin for one core
        threadpool_limits(1, user_api="blas")


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory):
    """Problems built anew by each test compile to the same programs: the workers share them."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    jax.config.update("jax_compilation_cache_dir", str(shared / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


MAPS = Path("/proc/self/maps")
_tests = itertools.count()


@pytest.fixture(autouse=True)
def _forget_programs():
    """Each compiled program holds memory maps, of which a process may have 65,530 on Linux."""
    yield
    if next(_tests) % 20 == 0 and MAPS.exists() and MAPS.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Nothing here may reach beyond this machine."""
    connect = socket.socket.connect

    def local_only(self, address):
        host = address[0] if isinstance(address, tuple) else "localhost"
        if host not in ("localhost", "127.0.0.1", "::1"):
            raise OSError(f"the tests may not connect to {host}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture
def x64():
    """float64 for the functional API, without touching the process-wide flag."""
    with jax.enable_x64(True):
        yield
