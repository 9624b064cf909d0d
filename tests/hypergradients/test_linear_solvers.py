"""What L-BFGS knows of the adjoint: Shine, and Nyström's inverse."""

import numpy as np
import pytest

import kbo
from kbo.hypergradients import Identity, NystromInverse, Parametric, Shine
from kbo.solvers import QuasiNewton
from tests import helpers

pytestmark = pytest.mark.usefixtures("x64")
PRECISE = QuasiNewton(tol=1e-12, memory=60, max_steps=5000)
AWARE = QuasiNewton(tol=1e-12, memory=60, max_steps=5000, prescribe=2)


def relative(found, expected):
    found, expected = helpers.flat(found.grad), helpers.flat(expected.grad)
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def cosine(found, expected):
    a, b = helpers.flat(found.grad), helpers.flat(expected.grad)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize(
    "loss", ["logistic", pytest.param("multinomial", marks=pytest.mark.slow)]
)
def test_shine_costs_no_product_and_prescribed_pairs_make_it_exact(loss):
    problem, omega = helpers.everything_problem("features", loss)
    exact = kbo.value_and_hypergradient(problem, omega)
    evaluate = lambda solver, linear_solver: kbo.value_and_hypergradient(
        problem, omega, solver=solver, method=Parametric(linear_solver)
    )
    plain, aware, refined = evaluate(PRECISE, Shine()), evaluate(AWARE, Shine()), evaluate(
        PRECISE, Shine(refine=3))
    nothing = evaluate(PRECISE, Identity())
    assert plain.cost.products == 0 and refined.cost.products == 5
    assert relative(aware, exact) < 1e-3 < relative(plain, exact) < relative(nothing, exact)
    assert relative(refined, exact) < relative(plain, exact)
    assert cosine(plain, exact) > 0.99 > cosine(nothing, exact)
    assert plain.residuals.adjoint == np.inf and refined.residuals.adjoint < 0.1


def test_nystroms_inverse_is_exact_on_all_coordinates_and_nears_it_with_their_number():
    problem, omega = helpers.everything_problem("features", "logistic")
    exact = kbo.value_and_hypergradient(problem, omega)
    errors = [
        relative(kbo.value_and_hypergradient(
            problem, omega, method=Parametric(NystromInverse(rank, damping))), exact)
        for rank, damping in ((1, 1e-2), (3, 1e-2), (6, 1e-2), (6, 1e-6))
    ]
    assert errors[0] > errors[2] and errors[3] < 1e-2 * errors[2]
    one, other = (
        helpers.flat(kbo.value_and_hypergradient(
            problem, omega, method=Parametric(NystromInverse(3, 1e-2, seed))).grad)
        for seed in (0, 1)
    )
    assert np.abs(one - other).max() > 1e-6


def test_shine_needs_an_inner_estimate():
    problem, omega = helpers.everything_problem("features", "logistic")
    with pytest.raises(ValueError, match="QuasiNewton"):
        kbo.value_and_hypergradient(problem, omega, method=Parametric(Shine()))
