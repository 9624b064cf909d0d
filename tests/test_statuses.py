"""CONVERGED is said where a tolerance is met, and nowhere else; other statuses have a remedy."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kbo
from kbo import Status
from kbo.hypergradients import (
    BOME,
    CG,
    F2SA,
    SOBA,
    Direct,
    FiniteDifference,
    Identity,
    Implicit,
    LinearLBFGS,
    MinMin,
    Neumann,
    NystromInverse,
    Parametric,
    Unrolled,
)
from tests.small import OMEGA, X, Y, problem, right_grad

FEATURES = kbo.FeatureSpace(lambda x: jnp.concatenate([jnp.sin(k * x) for k in range(1, 4)]))


def logistic(**changes):
    data = kbo.Sample(X, np.sign(Y))
    return problem(inner_loss=kbo.losses.Logistic(), inner_data=data, **changes)


# method, the status of one evaluation on features, and the argument that the remedy names
METHODS = {
    "implicit": (Implicit(), Status.CONVERGED, ""),
    "differences": (FiniteDifference(), Status.CONVERGED, ""),
    "direct": (Parametric(Direct()), Status.CONVERGED, ""),
    "cg": (Parametric(CG(100, tol=1e-8)), Status.CONVERGED, ""),
    "cg cut short": (Parametric(CG(1)), Status.ADJOINT_NOT_CONVERGED, "steps"),
    "cg nearly there": (Parametric(CG(5, tol=1e-12)), Status.ADJOINT_NOT_CONVERGED, "steps"),
    "lbfgs": (Parametric(LinearLBFGS(200, tol=1e-8)), Status.CONVERGED, ""),
    "lbfgs cut short": (Parametric(LinearLBFGS(2)), Status.ADJOINT_NOT_CONVERGED, "steps"),
    "series": (Parametric(Neumann(10, 0.1)), Status.ADJOINT_NOT_CONVERGED, "step_size"),
    "diverging series": (Parametric(Neumann(50, 9.0)), Status.DIVERGED, "step_size"),
    "overflowing series": (Parametric(Neumann(200, 1e3)), Status.DIVERGED, "step_size"),
    "nystrom": (Parametric(NystromInverse(2)), Status.ADJOINT_NOT_CONVERGED, "rank"),
    "identity": (Parametric(Identity()), Status.TRUNCATED, "linear_solver"),
    "unrolled": (Unrolled(5), Status.TRUNCATED, "steps"),
    "diverging steps": (Unrolled(20, optax.sgd(1e3)), Status.DIVERGED, "optimizer"),
    "minimum": (MinMin(steps=5), Status.TRUNCATED, "steps"),
    "soba": (SOBA(), Status.TRUNCATED, "minimize"),
    "f2sa": (F2SA(), Status.TRUNCATED, "minimize"),
    "bome": (BOME(), Status.TRUNCATED, "minimize"),
}


@pytest.mark.parametrize("name", METHODS)
def test_each_method_says_how_its_evaluation_ended(name, x64):
    method, status, remedy = METHODS[name]
    found = kbo.value_and_hypergradient(
        logistic(space=FEATURES), OMEGA, method=method, throw=False
    )
    assert found.status is status
    assert remedy in found.hint
    assert bool(remedy) == bool(found.hint)


def test_what_raises_and_what_warns(x64):
    p = logistic(space=FEATURES)
    evaluate = lambda linear: kbo.value_and_hypergradient(p, OMEGA, method=Parametric(linear))
    with pytest.raises(kbo.BilevelError, match=r"DIVERGED.*step_size"):
        evaluate(Neumann(50, 9.0))
    with pytest.warns(UserWarning, match=r"ADJOINT_NOT_CONVERGED.*CG\(steps\)"):
        evaluate(CG(1))
    error = kbo.BilevelError(Status.SINGULAR, None, "raise it")
    assert "raise it" in str(error) and str(error.__reduce__()[1][2]) == "raise it"


INNER = {
    "one newton step": (kbo.solvers.Exact(max_newton=1), Status.INNER_NOT_CONVERGED, "max_newton"),
    "few newton steps": (
        kbo.solvers.Exact(max_newton=3, tol=1e-14), Status.INNER_NOT_CONVERGED, "max_newton",
    ),
    "to rounding": (kbo.solvers.Exact(tol=1e-16), Status.CONVERGED, ""),
    "loose": (kbo.solvers.Exact(tol=1e-1), Status.CONVERGED, ""),
    "nystrom": (kbo.solvers.Nystrom(8), Status.CONVERGED, ""),
    "few cg steps": (kbo.solvers.FullCG(rank=1, max_cg=1, max_newton=3),
                     Status.INNER_NOT_CONVERGED, "max_cg"),
    "few lbfgs steps": (kbo.solvers.QuasiNewton(max_steps=2), Status.INNER_NOT_CONVERGED,
                        "max_steps"),
}


@pytest.mark.parametrize("name", INNER)
def test_each_solver_says_how_its_solve_ended(name, x64):
    solver, status, remedy = INNER[name]
    method = Parametric(Direct()) if "lbfgs" in name else None
    found = kbo.value_and_hypergradient(
        logistic(), OMEGA, solver=solver, method=method, throw=False
    )
    assert found.status is status
    assert remedy in found.hint


def test_an_adjoint_that_was_cut_short_enters_the_status(x64, monkeypatch):
    solved = kbo.solvers._newton.kernel_system.KernelSystem._refined

    def half(self, apply, rhs, curvatures):
        solution, values, _ = solved(self, apply, rhs, curvatures)
        return 0.5 * solution, 0.5 * values, 0.5 * rhs

    monkeypatch.setattr("kbo.solvers._newton.kernel_system.KernelSystem._refined", half)
    monkeypatch.setattr("kbo.hypergradients.fused.LARGEST", 0)  # on the host
    with pytest.warns(UserWarning, match="ADJOINT_NOT_CONVERGED"):
        found = kbo.value_and_hypergradient(problem(), OMEGA)
    assert found.status is Status.ADJOINT_NOT_CONVERGED


@pytest.mark.parametrize("steps", [1, 3])
def test_networks_are_as_far_as_they_were_told_to_go(steps, x64):
    p = problem(space=kbo.NeuralSpace(kbo.networks.MLP((4,))), ridge=1e-2)
    told = kbo.solvers.Gradient(steps=steps)
    found = kbo.value_and_hypergradient(p, OMEGA, key=jax.random.key(0), solver=told)
    assert found.status is Status.TRUNCATED
    assert "steps" in found.hint
    strict = kbo.solvers.Gradient(steps=steps, tol=1e-6)
    found = kbo.value_and_hypergradient(
        p, OMEGA, key=jax.random.key(0), solver=strict, throw=False
    )
    assert found.status is Status.INNER_NOT_CONVERGED


def test_a_search_beside_points_without_a_value_has_not_converged(x64):
    # L decreases towards 0.5, from where on the ridge makes no problem.
    p = problem(ridge=lambda w: jnp.where(w[1] < 0.5, jnp.exp(w[1] - 2), -1.0),
                outer_loss=lambda w, v, t: 0.5 * (v - t) ** 2 + 5 - w[1])
    found = kbo.minimize(p, OMEGA)
    assert found.status is Status.BLOCKED
    assert found.grad_norm > 1e-3 and found.n_rejected
    assert re.search("bounds", str(found.status))
    assert "ridge=" in found.hint and "must be positive" in found.hint  # of the last that failed
    inside = kbo.minimize(p, OMEGA, bounds=(np.array([-3.0, -3.0]), np.array([3.0, 0.4])))
    assert inside.status is Status.CONVERGED
    assert inside.value <= found.value + 0.11


def test_a_search_says_when_its_gradients_were_approximate(x64):
    found = kbo.minimize(
        problem(space=FEATURES), OMEGA, method=Parametric(CG(1)),
        bounds=(OMEGA - 1, OMEGA + 1),
    )
    assert not found.status.ok
    whole = kbo.minimize(problem(), OMEGA)
    assert whole.status is Status.CONVERGED
    assert np.linalg.norm(right_grad(whole.omega)) < 1e-5


def test_every_status_has_a_text_and_is_usable_or_not():
    for status in Status:
        assert len(str(status)) > 20
        assert status.usable or not status.completed
    assert Status.CONVERGED.ok and not Status.TRUNCATED.ok


def test_errors_survive_pickling():
    import pickle

    error = pickle.loads(pickle.dumps(kbo.BilevelError(kbo.Status.SINGULAR)))
    assert error.status is kbo.Status.SINGULAR
