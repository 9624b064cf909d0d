"""The limit of an error as samples grow, and how far from zero it may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

SHIFTS = np.linspace(-0.5, 1, 13)  # c, in units of the smallest size
EXPONENTS = (1.0, 1.25, 1.5, 2.0)  # β, in units of the slowest one
ROUNDING = 1e-12  # relative
NUISANCE = 0.001  # probability that the true (β, c) is not among those kept


@dataclass(frozen=True)
class Limit:
    """b₀ of mean_n = b₀ + b₁ (n + c)^(−β).

    Attributes
    ----------
    size : float
        ‖b̂₀‖ at the (β, c) that fit best.
    largest : float
        Upper confidence limit of ‖b₀‖, the largest over all (β, c) that fit.
    p_value : float
        Of the hypothesis that b₀ = 0, or that ‖b₀‖ is at most ``negligible``.
    exponent, shift : float
        β and c that fit best.
    fit : float
        p-value of the curve's shape: of the residuals about the best curve being noise.
    """

    size: float
    largest: float
    p_value: float
    exponent: float
    shift: float
    fit: float


def find_limit(
    sizes, rows, *, block=None, slowest=1.0, level=0.025, negligible=0.0, nonnegative=False
) -> Limit:
    """The limit of the mean of ``rows`` as the size grows, with a test that it is zero.

        mean_n = b₀ + b₁ (n + c)^(−β),   β ∈ slowest · [1, 2],  c ∈ [−½, 1] · smallest n

    For given (β, c), least squares with weights R_i/tr S_i for all entries gives b̂₀ = Σ_i a_i ē_i
    with covariance V = Σ_i V_i, V_i = a_i² S_i/R_i. Then ‖b̂₀ − b₀‖²/tr V is approximately F(f, ν)
    distributed, with f = (tr V)²/tr V² and ν = (tr V)²/Σ_i (tr V_i)²/(R_i − 1). The confidence
    region is a ball, since an ellipsoid would need more repeats than entries. (β, c) are unknown:
    those whose residual sum of squares exceeds the smallest by more than noise explains are
    dropped, and the worst case over the others is taken (Berger and Boos). Blocks of entries are
    tested one by one and combined by Bonferroni's inequality.

    Parameters
    ----------
    sizes : sequence of number (S,)
        A size repeats where several cells have it.
    rows : sequence of array (R_i, k)
        For each size, one row for each repeat.
    block : int, optional
        Number of entries over which the Euclidean norm is taken; ``k`` by default.
    slowest : float
        The smallest β. 1 is right for a smooth function of sample means: the bias of its mean is
        b₁/n + b₂/n² + …
    level : float
        Level of the upper limit and of the test.
    negligible : float
        The hypothesis is ‖b₀‖ ≤ ``negligible``. The curve is itself an approximation, as b₂ need
        not be parallel to b₁: with enough repeats, b₀ = 0 is always rejected.
    nonnegative : bool
        Whether b₀ ≥ 0 is known; the test is then one-sided.

    Returns
    -------
    Limit

    References
    ----------
    Box (1954), Some theorems on quadratic forms applied in the study of analysis of variance
    problems; Brunner, Dette, Munk (1997), Box-type approximations in nonparametric factorial
    designs; Berger, Boos (1994), P values maximized over a confidence set for the nuisance
    parameter.
    """
    n = np.asarray(sizes, float)
    repeats = np.array([len(r) for r in rows], float)
    k = np.shape(rows[0])[1]
    block = block or k
    means = np.array([r.mean(0) for r in rows])
    # An estimator that does not vary has no noise but rounding.
    rounding = ROUNDING**2 * np.mean(means**2) * np.eye(k)
    covariances = np.array([np.cov(r.T).reshape(k, k) + rounding for r in rows])  # S_i
    covariances /= repeats[:, None, None]  # of the means
    trace = np.trace(covariances, axis1=1, axis2=2)
    candidates = []
    for beta in slowest * np.array(EXPONENTS):
        for shift in n.min() * SHIFTS:
            shape = ((n + shift) / n.min()) ** -beta
            design = np.column_stack([np.ones_like(shape), shape])
            solve = np.linalg.solve(design.T / trace @ design, design.T / trace)
            left = (((means - design @ (solve @ means)) ** 2).sum(1) / trace).sum()
            candidates.append((left, beta, shift, solve[0]))
    best = min(candidates, key=lambda c: c[0])
    freedom = (repeats - 1).sum()
    # Each of the two parameters absorbs the noise of one direction: at most this share of tr S.
    share = (np.linalg.norm(covariances, 2, axis=(1, 2)) / trace).max()
    slack = 2 * share * stats.f.isf(NUISANCE, 2, freedom)
    kept = [c[3] for c in candidates if c[0] <= best[0] + slack]
    level, sides = max(level - NUISANCE, NUISANCE), 2 if nonnegative else 1
    places = range(0, k, block)
    blocks = np.array([
        covariances[:, at : at + block, at : at + block] for at in places
    ]).swapaxes(0, 1)
    found = [_ball(a, means, blocks, repeats, level * sides / len(places)) for a in kept]
    p_values, largest = zip(
        *[_judge(*b, negligible, nonnegative) for b in found], strict=True
    )
    return Limit(
        size=float(np.linalg.norm((best[3] @ means).reshape(-1, block), axis=1).max()),
        largest=float(max(largest)), p_value=float(min(1.0, max(p_values) + NUISANCE)),
        exponent=float(best[1]), shift=float(best[2]),
        fit=_fit(best[0], len(n) - 2, covariances / trace[:, None, None], freedom),
    )


def _ball(a, means, covariances, repeats, level):
    """b̂₀ (P, d), tr V (P,), f (P,), ν (P,) and the radius (P,) of each block."""
    centre = (a @ means).reshape(covariances.shape[1:3])
    parts = a[:, None, None, None] ** 2 * covariances
    total = parts.sum(0)
    trace = np.einsum("paa->p", total)
    f = trace**2 / (total**2).sum((1, 2))
    nu = trace**2 / (np.einsum("ipaa->ip", parts) ** 2 / (repeats - 1)[:, None]).sum(0)
    return centre, trace, f, nu, np.sqrt(trace * stats.f.isf(level, f, nu))


def _judge(centre, trace, f, nu, radius, negligible, nonnegative):
    """p-value of ‖b₀‖ ≤ ``negligible`` in all blocks, and the upper limit of the largest ‖b₀‖."""
    norm = np.maximum(centre[:, 0], 0.0) if nonnegative else np.linalg.norm(centre, axis=1)
    away = np.maximum(norm - negligible, 0.0)
    p = stats.f.sf(away**2 / trace, f, nu) * (0.5 if nonnegative else 1.0)
    p = np.where(away > 0, p, 1.0)
    return min(1.0, len(p) * p.min()), (norm + radius).max()


def _fit(left, freedom, covariances, noise):
    """p-value of the residual sum of squares about the best curve; the covariances have trace 1."""
    if freedom <= 0:
        return 1.0
    # Each term is ‖·‖² divided by its mean, about χ²_f/f, with f as for a single mean.
    f = np.mean(1 / (covariances**2).sum((1, 2)))
    return float(stats.f.sf(left / freedom, f * freedom, f * noise))
