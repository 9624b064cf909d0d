"""Error of approximate hypergradients against the accuracy of the inner problem, on one sample."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from scipy import stats

import kbo
from kbo.hypergradients import CG, MinMin, Neumann, Parametric, Unrolled
from kbo.solvers import Exact, QuasiNewton

FLOOR = 1e-10  # relative errors below this are rounding


@dataclass(frozen=True)
class Exponent:
    """Exponent of a power law, error ∝ accuracy^slope, or rate of error ∝ exp(slope·steps).

    Attributes
    ----------
    slope : float
        The mean over samples.
    interval : pair of float
        95 % confidence interval of the slope, by Student's t over the samples.
    slopes : ndarray (R,)
        The slope of each sample.
    """

    slope: float
    interval: tuple[float, float]
    slopes: np.ndarray


def _weighted_logistic(omega, prediction, target):
    """exp(ω_1·group) log(1 + exp(−t h))."""
    label, group = target
    return jnp.exp(omega[1] * group) * jnp.logaddexp(0.0, -label * prediction)


def _logistic(omega, prediction, label):
    return jnp.logaddexp(0.0, -label * prediction)


def _identity(x):
    return x


def _ridge(omega):
    return jnp.exp(omega[0])


def logistic_features(seed, n=80, d=12):
    """Logistic regression with a weight for half of the samples: ω = (log ridge, log weight).

    The space is a feature space of dimension d, in which θ is all of h, so that parametric methods
    are at no disadvantage. The features' scales range from 1 to 0.3.

    Parameters
    ----------
    seed : int
    n, d : int

    Returns
    -------
    problem : BilevelProblem
    omega : ndarray (2,)
    """
    random = np.random.default_rng(seed)
    x, x_out, theta = (random.standard_normal(shape) for shape in ((n, d), (n, d), d))
    x, x_out = (side * np.geomspace(1, 0.3, d) for side in (x, x_out))
    label = lambda x: np.sign(x @ theta + random.standard_normal(n))  # noqa: E731
    half = np.arange(n) % 2
    with jax.enable_x64(True):
        problem = kbo.BilevelProblem(
            inner_loss=_weighted_logistic, outer_loss=_logistic,
            inner_data=kbo.Sample(jnp.asarray(x), (label(x), half.astype(float))),
            outer_data=kbo.Sample(jnp.asarray(x_out), label(x_out)),
            space=kbo.FeatureSpace(_identity), ridge=_ridge,
        )
    return problem, np.array([np.log(0.02), 0.3])


def curvature(problem, omega):
    """(μ, ‖∂²_θθJ‖): the extreme eigenvalues of the inner Hessian at the solution."""
    with jax.enable_x64(True):
        omega = jnp.asarray(omega)
        found = kbo.value_and_hypergradient(problem, omega, solver=Exact())
        instance = problem.at(omega)
        phi = np.asarray(instance.space.features(instance.inner.x))
        values = jnp.asarray(phi @ np.asarray(found.inner.coefficients)[0])[None]
        curvatures = np.asarray(instance.inner_curvatures(values))[0, :, 0, 0]
        hessian = (phi.T * curvatures) @ phi / len(phi)
        eigenvalues = np.linalg.eigvalsh(hessian) + float(instance.ridge[0])
    return float(eigenvalues[0]), float(eigenvalues[-1])


def _flat(grad):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grad)])


def _error(problem, omega, exact, method, solver):
    """The relative error of the gradient, and the Hypergradient itself."""
    with jax.enable_x64(True):
        found = kbo.value_and_hypergradient(
            problem, omega, method=method, solver=solver, throw=False
        )
    return np.linalg.norm(_flat(found.grad) - exact) / np.linalg.norm(exact), found


def approximations(problem, omega):
    """The methods compared, and the rate κ per step that theory predicts for each.

    Returns
    -------
    dict of str to pair (callable K ↦ (method, solver), predicted log κ)
    """
    smallest, largest = curvature(problem, omega)
    rate = 1 / largest
    descent = np.log(1 - smallest / largest)
    root = np.sqrt(largest / smallest)
    return {
        "ITD, gradient descent": (
            lambda K: (Unrolled(K, optax.sgd(rate), warm=False), Exact()), descent),
        "AID, Neumann": (lambda K: (Parametric(Neumann(K, rate)), Exact()), descent),
        "AID, CG": (lambda K: (Parametric(CG(K)), Exact()), np.log((root - 1) / (root + 1))),
    }


def inner_steps(steps=(2, 4, 6, 8, 16, 32, 64), n_samples=5, make=logistic_features):
    """Hypergradient errors of AID and ITD against the number K of inner or linear-solver steps.

        ITD ~ K κ^K,  Neumann ≤ κ^K,  κ = 1 − μ/‖∂²_θθJ‖
        CG ≤ 2 ((√c − 1)/(√c + 1))^K,  c = ‖∂²_θθJ‖/μ

    Parameters
    ----------
    steps : sequence of int
    n_samples : int
    make : callable
        seed ↦ (problem in a FeatureSpace, ω).

    Returns
    -------
    DataFrame
        Columns method, seed, K, error (relative) and predicted (log κ).

    References
    ----------
    Grazzi et al. (2020), On the Iteration Complexity of Hypergradient Computation, Theorems 2.1,
    2.2 and 3.1.
    """
    rows = []
    for seed in range(n_samples):
        problem, omega = make(seed)
        exact = _flat(_error(problem, omega, np.ones(1), None, Exact())[1].grad)
        for name, (method_of, predicted) in approximations(problem, omega).items():
            for K in steps:
                error = _error(problem, omega, exact, *method_of(K))[0]
                rows.append({"method": name, "seed": seed, "K": K, "error": error,
                             "predicted": predicted})
    return pd.DataFrame(rows)


def tolerances(tols=tuple(10.0**-k for k in range(1, 8)), n_samples=5, make=logistic_features):
    """Errors of HOAG's hypergradient: O(ε) where inner and linear problem are solved to ε.

    Returns
    -------
    DataFrame
        Columns method, seed, accuracy (ε) and error (relative).

    References
    ----------
    Pedregosa (2016), Hyperparameter Optimization with Approximate Gradient, Theorem 1.
    """
    rows = []
    for seed in range(n_samples):
        problem, omega = make(seed)
        exact = _flat(_error(problem, omega, np.ones(1), None, Exact())[1].grad)
        for tol in tols:
            error = _error(
                problem, omega, exact, Parametric(CG(1000, tol)), QuasiNewton(tol=tol)
            )[0]
            rows.append({"method": "HOAG", "seed": seed, "accuracy": tol, "error": error})
    return pd.DataFrame(rows)


def super_efficiency(
    steps=(20, 30, 40, 60, 80), n_samples=5, make=logistic_features
):
    """Errors of g1, g2 and g3 where outer and inner objective are the same, F = G.

    Against e = ‖θ_K − θ*‖ their exponents are 1 for g1 (the analytic gradient), above 1 for g2
    (automatic) and 2 for g3 (implicit).

    Returns
    -------
    DataFrame
        Columns method (the gradient), seed, K, accuracy (e, relative to ‖θ*‖) and error (relative).

    References
    ----------
    Ablin, Peyré, Moreau (2020), Super-efficiency of Automatic Differentiation for Functions Defined
    as a Minimum, Propositions 2.1–2.3.
    """
    rows = []
    for seed in range(n_samples):
        problem, omega = make(seed)
        rate = optax.sgd(1 / curvature(problem, omega)[1])
        with jax.enable_x64(True):
            solved = kbo.value_and_hypergradient(problem, omega, solver=Exact())
        best = np.asarray(solved.inner.coefficients)
        truth = MinMin("analytic", 5000, rate)
        exact = _flat(_error(problem, omega, np.ones(1), truth, Exact())[1].grad)
        for K in steps:
            for gradient in ("analytic", "automatic", "implicit"):
                error, found = _error(problem, omega, exact, MinMin(gradient, K, rate), Exact())
                away = np.linalg.norm(np.asarray(found.inner.coefficients) - best)
                rows.append({"method": gradient, "seed": seed, "K": K,
                             "accuracy": away / np.linalg.norm(best), "error": error})
    return pd.DataFrame(rows)


def exponents(table, against="accuracy") -> dict[str, Exponent]:
    """For each method, the slope of log error against log ``accuracy``, or against ``K``.

    Parameters
    ----------
    table : DataFrame
        The result of one of the functions above.
    against : {"accuracy", "K"}

    Raises
    ------
    ValueError
        If an error is not finite, if fewer than two errors of a sample are above rounding (1e-10),
        or if there is only one sample, which gives no interval.
    """
    if not np.isfinite(table.error).all():
        raise ValueError("table has errors that are not finite: leave those methods out")
    if table.seed.nunique() < 2:
        raise ValueError("table has one sample: an interval needs n_samples of 2 at least")
    if against not in ("accuracy", "K"):
        raise ValueError(f"against={against!r} must be 'accuracy' or 'K'")
    found = {}
    for name, rows in table.groupby("method", sort=False):
        slopes = []
        for _, own in rows.groupby("seed"):
            kept = own[own.error > FLOOR]
            if len(kept) < 2:
                raise ValueError(
                    f"{name}: fewer than two errors are above rounding: take fewer steps"
                )
            x = kept.K if against == "K" else np.log(kept.accuracy)
            slopes.append(np.polyfit(x, np.log(kept.error), 1)[0])
        slopes = np.array(slopes)
        width = stats.t.ppf(0.975, len(slopes) - 1) * stats.sem(slopes)
        mean = float(slopes.mean())
        found[name] = Exponent(mean, (float(mean - width), float(mean + width)), slopes)
    return found
