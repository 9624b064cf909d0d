"""Synthetic bilevel problems in finite dimension, with their solutions.

θ in R^p is represented by a constant function with p outputs.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from sklearn.utils import Bunch, check_random_state

from ..problem import BilevelProblem, Sample
from ..spaces import FeatureSpace

TRIALS = 20  # at most so many draws of quadratics, until L is convex


def one(x):
    """The feature of constant functions, 1."""
    return jnp.ones(1, x.dtype)


def _constant(inner_loss, outer_loss, inner_target, outer_target, p):
    """A problem for θ in R^p, with losses that are functions of (ω, θ, t_i)."""
    samples = [
        Sample(jnp.zeros((len(next(iter(target.values()))), 1)), target)
        for target in (inner_target, outer_target)
    ]
    return BilevelProblem(
        inner_loss, outer_loss, *samples, space=FeatureSpace(one), ridge=0.0, n_outputs=p
    )


def _sum(omega, v, t):
    return jnp.sum((t["A"] @ (1 - omega - v - t["start"])) ** 2)


def _squares(omega, v, t):
    return jnp.sum(omega**2) + jnp.sum((v + t["start"]) ** 2)


def _difference(omega, v, t):
    return jnp.sum((t["A"] @ (omega - v - t["start"])) ** 2)


def _saddle(omega, v, t):
    return jnp.sum((v + t["start"]) ** 2) - _difference(omega, v, t)


def make_mehra_hamm(example=1, size=10, random_state=None):
    """The four synthetic problems of Mehra and Hamm, two with a singular inner Hessian::

        1: L = ‖u‖² + ‖v‖²,          J = ‖1 − u − v‖²        u = v = ½
        2: L = ‖v‖² − ‖u − v‖²,      J = ‖u − v‖²            u = v = 0
        3: L = ‖u‖² + ‖v‖²,          J = ‖A(1 − u − v)‖²     u = v = ½A⁺A1
        4: L = ‖v‖² − ‖A(u − v)‖²,   J = ‖A(u − v)‖²         v = 0, Au = 0

    A is Gaussian with size/2 rows. Where J has many minimisers v, the solution is the one with the
    lowest L.

    Parameters
    ----------
    example : {1, 2, 3, 4}
    size : int
        The dimension of u and of v; even.
    random_state : int, RandomState or None
        Seed of A and of the start, which is uniform in [−5, 5].

    Returns
    -------
    Bunch
        ``problem``, with v = v₀ + h, so that h = 0 is the start; ``omega0``; ``v0``; ``error``, a
        function (ω, h) ↦ the distance of u and v from the set of solutions.

    References
    ----------
    Mehra, Hamm (2021), Penalty Method for Inversion-Free Deep Bilevel Optimization, Section 3.1.
    """
    if example not in (1, 2, 3, 4) or size % 2 or size < 2:
        raise ValueError(f"example={example!r} must be 1, 2, 3 or 4, and size={size!r} even")
    random = check_random_state(random_state)
    A = random.normal(size=(size // 2, size)) if example > 2 else np.eye(size)
    omega0, start = random.uniform(-5, 5, size=(2, size))
    inner, outer = (_sum, _squares) if example % 2 else (_difference, _saddle)
    target = {"A": A[None], "start": start[None]}
    rows = np.linalg.pinv(A) @ A
    goal = 0.5 * rows @ np.ones(size) if example % 2 else np.zeros(size)

    def error(omega, h):
        u, v = np.asarray(omega), np.asarray(h(np.zeros((1, 1)))).ravel() + start
        off = rows @ u if example == 4 else u - goal
        return float(np.sqrt(np.sum(off**2) + np.sum((v - goal) ** 2)))

    return Bunch(
        problem=_constant(inner, outer, target, target, size), omega0=omega0, v0=start, error=error
    )


def _quadratic(omega, v, t):
    """½(a·v)² + ½(b·ω)² + (p·ω)(r·v) + c·v + e·ω."""
    squares = 0.5 * jnp.dot(t["a"], v) ** 2 + 0.5 * jnp.dot(t["b"], omega) ** 2
    cross = jnp.dot(t["p"], omega) * jnp.dot(t["r"], v)
    return squares + cross + jnp.dot(t["c"], v) + jnp.dot(t["e"], omega)


def make_bilevel_quadratics(
    n_samples=1024, size=100, outer_size=100, smallest=0.1, cross=0.1, random_state=None
):
    """Inner and outer means of random quadratics in (ω, θ), a benchmark for stochastic methods::

        J(ω, θ) = (1/n) Σ_i ½(a_i·θ)² + ½(b_i·ω)² + (p_i·ω)(r_i·θ) + c_i·θ + e_i·ω,   L likewise

    The eigenvalues of E aaᵀ are spaced evenly in logarithms from ``smallest`` to 1. Those of E bbᵀ
    likewise, except one that is 0. The singular values of E prᵀ range from ``smallest`` to
    ``cross``. Draws are repeated until L is convex.

    Parameters
    ----------
    n_samples : int
        n, of the inner and of the outer sample.
    size, outer_size : int
        The dimensions of θ and ω.
    smallest, cross : float
    random_state : int, RandomState or None

    Returns
    -------
    Bunch
        ``problem``; ``omega0``, a vector of ones; ``solution``, argmin L; ``lowest``, min L;
        ``value``, ω ↦ L(ω) in closed form; ``inner``, ω ↦ θ*(ω).

    References
    ----------
    Dagréou, Moreau, Vaiter, Ablin (2023), A Lower Bound and a Near-Optimal Algorithm for Bilevel
    Empirical Risk Minimization, Section 5.
    """
    random = check_random_state(random_state)
    for _ in range(TRIALS):
        targets = [_factors(random, n_samples, size, outer_size, smallest, cross) for _ in "JL"]
        inner, outer = map(_moments, targets)
        J = -np.linalg.solve(inner["aa"], np.column_stack([inner["pr"].T, inner["c"]]))
        slope, offset = J[:, :-1], J[:, -1]  # θ* = slope ω + offset
        both = outer["pr"] @ slope
        hessian = slope.T @ outer["aa"] @ slope + outer["bb"] + both + both.T
        if np.linalg.eigvalsh(hessian)[0] > 1e-8:
            break
    else:
        raise ValueError(f"L was not convex in {TRIALS} draws: lower cross, or raise n_samples")
    at_offset = outer["aa"] @ offset + outer["c"]
    linear = slope.T @ at_offset + outer["pr"] @ offset + outer["e"]
    constant = 0.5 * offset @ outer["aa"] @ offset + outer["c"] @ offset
    value = lambda omega: float(  # noqa: E731
        0.5 * omega @ hessian @ omega + linear @ omega + constant
    )
    solution = -np.linalg.solve(hessian, linear)
    return Bunch(
        problem=_constant(_quadratic, _quadratic, *targets, size), omega0=np.ones(outer_size),
        solution=solution, lowest=value(solution), value=value,
        inner=lambda omega: slope @ omega + offset,
    )


def _factors(random, n, size, outer_size, smallest, cross):
    def root(d, zeros):
        basis = np.linalg.qr(random.normal(size=(d, d)))[0]
        spectrum = np.append(np.zeros(zeros), np.logspace(np.log10(smallest), 0, d - zeros))
        return basis * np.sqrt(spectrum) @ basis.T

    common = min(size, outer_size)
    U = np.linalg.qr(random.normal(size=(outer_size, outer_size)))[0][:, :common]
    V = np.linalg.qr(random.normal(size=(size, size)))[0][:, :common]
    through = random.normal(size=(n, common))
    return {
        "a": random.normal(size=(n, size)) @ root(size, 0),
        "b": random.normal(size=(n, outer_size)) @ root(outer_size, 1),
        "p": through * np.logspace(np.log10(smallest), np.log10(cross), common) @ U.T,
        "r": through @ V.T,
        "c": random.normal(size=(n, size)), "e": random.normal(size=(n, outer_size)),
    }


def _moments(t):
    n = len(t["a"])
    return {
        "aa": t["a"].T @ t["a"] / n, "bb": t["b"].T @ t["b"] / n, "pr": t["p"].T @ t["r"] / n,
        "c": t["c"].mean(0), "e": t["e"].mean(0),
    }
