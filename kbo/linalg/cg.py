"""Conjugate gradients for several systems at once."""

from __future__ import annotations

import numpy as np


def conjugate_gradients(apply, precondition, rhs, tol, max_iter, patience=50, target=None):
    """Solve A_f u_f = r_f for F symmetric systems at once; converged systems drop out.

    A system has converged when its error in the energy norm (uᵀAu)^½, estimated as (rᵀP⁻¹r)^½ from
    the residual r and the preconditioner P, is at most ``tol`` times the energy norm of the
    solution, or at most ``target``.

    Parameters
    ----------
    apply, precondition : callable
        A and P⁻¹, applied to arrays (k, N, p) given the k indices f that they belong to.
    rhs : ndarray (F, N, p)
    tol : float
    max_iter, patience : int
        A system also drops out when its error has not fallen for ``patience`` iterations, because
        of rounding.
    target : ndarray (F,), optional
        An absolute error that is small enough.

    Returns
    -------
    solution, residual : ndarray (F, N, p)
        For each system, the iterate with the smallest estimated error.
    iterations : int
    cut_short : bool
        Whether ``max_iter`` ended a system before it had converged.
    """
    dot = lambda a, b: np.sum(a * b, (1, 2))  # noqa: E731
    spread = lambda scalars: scalars[:, None, None]  # noqa: E731
    active = np.arange(len(rhs))
    u, residual = np.zeros_like(rhs), rhs.copy()
    direction = precondition(residual, active)
    rho = dot(residual, direction)
    best, best_residual, least = u.copy(), rhs.copy(), rho.copy()
    since, iterations = np.zeros(len(rhs), int), 0
    enough = np.zeros(len(rhs)) if target is None else target**2
    going = rho > enough
    while iterations < max_iter and going.any():
        active, direction, rho = active[going], direction[going], rho[going]
        iterations += 1
        image = apply(direction, active)
        curvature = dot(direction, image)
        step = spread(np.divide(rho, curvature, out=np.zeros_like(rho), where=curvature > 0))
        u[active] += step * direction
        residual[active] -= step * image
        z = precondition(residual[active], active)
        rho, previous = dot(residual[active], z), rho
        better = active[rho < least[active]]
        since[active] = np.where(rho < 0.9 * least[active], 0, since[active] + 1)
        least[active] = np.minimum(rho, least[active])
        best[better], best_residual[better] = u[better], residual[better]
        going = rho > np.maximum(tol**2 * dot(u[active], rhs[active]), enough[active])
        going &= (since[active] < patience) & (curvature > 0)
        direction = z + spread(rho / previous) * direction
    return best, best_residual, iterations, bool(going.any())
