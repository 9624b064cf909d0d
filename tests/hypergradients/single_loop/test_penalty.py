"""Singular inner problems."""

import numpy as np
import optax
import pytest

import kbo
from kbo.datasets import make_mehra_hamm
from kbo.hypergradients import AmIGO, Penalty, Unrolled
from kbo.optimizers import Optax

pytestmark = pytest.mark.usefixtures("x64")
SLOW = pytest.mark.slow


HAMM = {
    "penalty": Penalty(None, steps=50),
    "aid": AmIGO(0.02, steps=20, adjoint_steps=20),
    "itd": Unrolled(20, optax.sgd(0.02)),
}


def hamm_error(example, name, seed, steps=1000):
    made = make_mehra_hamm(example, random_state=seed)
    found = kbo.minimize(
        made.problem, made.omega0, method=HAMM[name], throw=False,
        optimizer=Optax(optax.adam(optax.exponential_decay(0.1, 200, 0.5)), max_steps=steps),
    )
    return made.error(found.omega, found.function)


@pytest.mark.parametrize(("example", "name", "solved"), [
    (3, "penalty", True), (3, "aid", False),
    *(pytest.param(*case, marks=SLOW) for case in (
        (1, "penalty", True), (1, "aid", True), (2, "penalty", True), (4, "penalty", True), (4, "aid", False), (3, "itd", False),
        (4, "itd", False), (2, "aid", True), (2, "itd", True),
    )),
])
def test_only_the_penalty_solves_singular_problems(example, name, solved):
    made = make_mehra_hamm(example, random_state=0)
    start = made.error(made.omega0, lambda x: np.zeros((1, 10)))
    error = hamm_error(example, name, 0)
    assert error < 1e-2 if solved else error > 0.3 * start
