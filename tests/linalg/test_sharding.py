"""Rows over eight virtual devices, and over two processes, give what one device gives."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kbo
from kbo.solvers import Falkon, Nystrom
from tests import helpers

ROOT = Path(__file__).parents[2]
CENTERS = np.random.default_rng(0).normal(size=(20, helpers.D))


def start(*arguments, devices=1):
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu",
    }
    return subprocess.Popen(
        [sys.executable, ROOT / "tests" / "linalg" / "sharded_program.py", *arguments], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


def assert_single_device_answer(found, devices):
    assert found.pop("devices") == devices
    result = kbo.minimize(
        *helpers.folds_problem(), solver=Nystrom(CENTERS[:9]),
        optimizer=kbo.optimizers.LBFGS(max_steps=3),
    )
    np.testing.assert_allclose(
        found.pop("minimize"), [result.value, *helpers.flat(result.omega)], rtol=1e-8
    )
    for key, numbers in found.items():
        loss, name = key.split()
        problem, omega = helpers.everything_problem("gaussian_ard", loss, 101, 30)
        solver = Nystrom(CENTERS) if name == "nystrom" else Falkon(CENTERS, mixed=False)
        hg = kbo.value_and_hypergradient(problem, omega, solver=solver)
        rtol = 1e-5 if name == "mixed" else 1e-9  # float32 blocks, refined to tol=1e-7
        np.testing.assert_allclose(
            numbers[:-1], [hg.value, *helpers.flat(hg.grad)], rtol=rtol, atol=rtol / 100
        )
        assert np.isfinite(numbers[-1])


@pytest.mark.slow
def test_eight_devices(x64):
    assert_single_device_answer(finish(start("logistic", devices=8)), 8)


@pytest.mark.slow
def test_eight_devices_and_other_losses(x64):
    assert_single_device_answer(finish(start("multinomial", devices=8)), 8)


@pytest.mark.slow
def test_two_processes_on_loopback(x64):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    processes = [start("squared", str(k), "2", port) for k in range(2)]
    found = [finish(process) for process in processes]
    assert found[0] == found[1]
    assert_single_device_answer(found[0], 2)
