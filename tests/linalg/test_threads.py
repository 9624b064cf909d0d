"""BLAS has one thread where more do not pay, and its own number again afterwards."""

import subprocess
import sys
import threading

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import kbo
from kbo._threads import available
from kbo.linalg import threads
from tests.helpers import folds_problem


def numbers():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture
def several():
    """BLAS with three threads, whatever the machine has."""
    with threadpool_limits(3, user_api="blas"):
        yield threads.BlasThreads()


def test_small_matrices_get_one_thread_and_large_ones_what_the_machine_gives(several):
    with several.sized(100):
        assert numbers() == {1}
    assert numbers() == {3}
    with several.sized(5000):
        assert numbers() == {min(3, available())}
    assert numbers() == {3}


def test_what_the_user_has_set_is_not_raised(several):
    with threadpool_limits(1, user_api="blas"), several.sized(5000):
        assert numbers() == {1}


def test_another_python_thread_leaves_the_number_alone(several):
    def other():
        with several.sized(100):
            pass

    beside = threading.Thread(target=other)
    with several.sized(100):
        beside.start()
        beside.join()
        assert numbers() == {1}
    assert numbers() == {3}


def test_a_crowded_machine_is_noticed(several, monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 3)

    def factorisation(wall, own):
        clocks = {"perf_counter": iter((0.0, wall)), "thread_time": iter((0.0, own))}
        for name, values in clocks.items():
            monkeypatch.setattr(threads.time, name, lambda values=values: next(values))
        with several.watched(5000):
            pass

    with several.sized(5000):
        factorisation(0.1, 0.09)
        assert numbers() == {3}
        factorisation(1.0, 0.2)
        assert numbers() == {1}
        with several.sized(5000):  # a search within the search
            assert numbers() == {1}
    assert numbers() == {3}
    with several.sized(5000):
        assert numbers() == {3}


def test_quotas_of_containers_count(tmp_path):
    assert available(tmp_path / "missing") >= 1
    for text, expected in (("50000 100000", 1), ("100000 100000", 1), ("max 100000", None)):
        (tmp_path / "cpu.max").write_text(text)
        assert available(tmp_path / "cpu.max") == (expected or available(tmp_path / "missing"))


def test_a_hypergradient_leaves_the_pools_as_they_were():
    before = numbers()
    kbo.value_and_hypergradient(*folds_problem())
    assert numbers() == before


def test_importing_kbo_first_keeps_threads_from_spinning():
    code = "import os, kbo; print(os.environ['OPENBLAS_THREAD_TIMEOUT'], os.environ['NPROC'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "22" and int(done.stdout.split()[1]) >= 1
