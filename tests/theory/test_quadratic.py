"""Quadratic outer values and their sups."""

import jax
import numpy as np

import kbo
from theory import estimators, problems
from theory.quadratic import Quadratic, empirical_quadratic
from theory.quantities import QUANTITIES

W4 = np.array([0.3, 0.7, 0.2, 0.9])


def test_empirical_quadratic_is_the_hypergradient():
    problem = problems.kbo_paper_iv().sample(70, 50, 0)
    with jax.enable_x64(True):
        found = kbo.value_and_hypergradient(problem, W4)
        value, grad = empirical_quadratic(problem).value_and_grad(W4)
    np.testing.assert_allclose(value, found.value, rtol=1e-10)
    np.testing.assert_allclose(grad, found.grad, rtol=1e-9, atol=1e-12)


def test_sups_of_a_quadratic_are_those_of_a_fine_grid():
    rng = np.random.default_rng(0)
    box = (np.array([-1.0, 0.0]), np.array([0.5, 2.0]))
    grid = np.stack(np.meshgrid(*[np.linspace(*side, 201) for side in zip(*box, strict=True)]), -1)
    for _ in range(20):
        A = rng.normal(size=(2, 2))
        form = Quadratic(A + A.T, rng.normal(size=2), rng.normal())
        points = grid.reshape(-1, 2)
        values = 0.5 * np.sum(points @ form.A * points, 1) - points @ form.b + form.c
        np.testing.assert_allclose(form.sup_value(box), np.abs(values).max(), rtol=1e-4)
        slopes = np.linalg.norm(points @ form.A - form.b, axis=1)
        np.testing.assert_allclose(form.sup_grad(box), slopes.max(), rtol=1e-12)


def test_sups_are_found_whether_the_outer_value_is_quadratic_or_not():
    problem = problems.torus_regression()
    sample = problem.sample(60, 60, 0)
    with jax.enable_x64(True):
        estimate = estimators.Plain()(sample, True)
        ours, exact = empirical_quadratic(sample), problem.quadratic_form
    difference = Quadratic(*(a - b for a, b in zip(ours, exact, strict=True)))
    expected = difference.sup_value(problem.box), difference.sup_grad(problem.box)
    for quadratic in (True, False):
        problem.quadratic = quadratic
        for name, sup in zip(("sup_value", "sup_grad"), expected, strict=True):
            kind = QUANTITIES[name]
            truth = kind.truth(problem, None)
            error = kind.error(estimate, problem, None, truth)
            np.testing.assert_allclose(kind.magnitude(error[None], problem), sup, rtol=2e-2
                                       if not quadratic and name == "sup_value" else 1e-8)
