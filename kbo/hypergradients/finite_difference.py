"""Central differences of L, a reference that uses no adjoint."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ..needs import ANY, Needs
from ..result import BilevelError, Hypergradient
from .base import Method, finish
from .implicit import outer_and_slopes, outer_value


class FiniteDifference(Method):
    """∂_k L ≈ (L(ω + εe_k) − L(ω − εe_k)) / 2ε, or its fourth-order version.

    Parameters
    ----------
    step : float
        ε, relative to max(1, max ``|ω_k|``).
    order : int
        2, or 4 for (8(L₊ − L₋) − (L₊₊ − L₋₋)) / 12ε.
    """

    step: float = 1e-4
    order: int = 4

    def __check_init__(self):
        if self.order not in (2, 4):
            raise ValueError(f"order={self.order!r} must be 2 or 4")
        if not self.step > 0:
            raise ValueError(f"step={self.step!r} must be positive")

    needs = Needs(spaces=ANY, memory=False)

    def directional(self, instance, direction, solver) -> float:
        """The derivative of L along ``direction``, a pytree like ω.

        L is that of ``instance``, at its ω, with h found by ``solver``.

        Raises
        ------
        BilevelError
            If an inner solution has no usable value.
        """
        flat, unravel = ravel_pytree(instance.omega)
        along = ravel_pytree(direction)[0]
        step = self.step * max(1.0, float(jnp.abs(flat).max()))

        def value(multiple):
            at = instance.at(unravel(flat + multiple * step * along))
            value, status = outer_value(at, solver)
            if not status.usable:
                raise BilevelError(status)
            return value

        first = value(1) - value(-1)
        if self.order == 2:
            return first / (2 * step)
        return (8 * first - (value(2) - value(-2))) / (12 * step)

    def evaluate(self, instance, solver, state=None) -> Hypergradient:
        """L(ω), and its central differences along each coordinate of ω."""
        flat, unravel = ravel_pytree(instance.omega)
        basis = np.eye(flat.size)
        grad = [self.directional(instance, unravel(jnp.asarray(e)), solver) for e in basis]
        solution = solver.solve(instance, state)
        dtype = instance.dtype
        value, _ = outer_and_slopes(instance, jnp.asarray(solution.h_outer, dtype))
        return finish(
            solution.instance, solver, value, unravel(jnp.asarray(grad, flat.dtype)),
            solution.coefficients, solution.status, (solution.residual, 0.0),
            jitter=solution.jitter, state=solution.state,
        )
