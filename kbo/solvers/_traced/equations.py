"""The inner problem as equations in the coefficients of h, all of whose parts JAX can trace.

    r(θ) = (1/Σw) P(w ∂_vℓ_in(ω, Bθ, t)) + ridge Gθ = 0

B maps coefficients to values at the inner points. In an RKHS, where the kernel matrix K is factored
out of the gradient, B = K and P = G = I; for features B = Φ, P = Φᵀ, G = I; in the span of centres
B = K_nM, P = K_nMᵀ, G = K_MM + δI.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ...module import Module
from .factors import convex_part

LARGEST_COUPLED = 6000  # unknowns of a system with coupled outputs, which is factorised as a whole


class Pointwise(NamedTuple):
    """ℓ_in (F, n), ∂_vℓ_in (F, n, p) and ∂²_vℓ_in (F, n, p, p) at values of h."""

    losses: jax.Array
    slopes: jax.Array
    curvatures: jax.Array


class Equations(Module):
    """The equations of F replicates, with coefficients (F, N, p).

    Attributes
    ----------
    pointwise : callable
        From values (F, n, p) of h at the inner points to their ``Pointwise``. What it depends on
        (ω, targets, what a user's loss closes over) are its leaves, so that the equations can be
        differentiated in them.
    weights : array (F, n)
    ridge : array (F,)
    n_outputs : int
        p.
    quadratic : bool
        Whether ∂²_vℓ_in = I, so that one system gives h and is that of its derivatives.
    even : bool
        Whether all weights are one.
    """

    pointwise: Callable
    weights: jax.Array
    ridge: jax.Array
    n_outputs: int = eqx.field(static=True)
    quadratic: bool = eqx.field(static=True)
    even: bool = eqx.field(static=True)

    def __check_init__(self):
        unknowns = self.size * self.n_outputs
        if self.coupled and unknowns > LARGEST_COUPLED:
            raise ValueError(
                f"{self.n_outputs} outputs that the inner loss couples make one system of "
                f"{unknowns} unknowns, and {LARGEST_COUPLED} are the most that is solved inside a "
                "JAX program: use kbo.value_and_hypergradient, or fewer points or centres"
            )

    @property
    def total(self):
        """Σw, (F,)."""
        return jnp.sum(self.weights, 1)

    @property
    def alpha(self):
        """ridge·Σw, (F,)."""
        return self.ridge * self.total

    @property
    def coupled(self) -> bool:
        """Whether the curvatures couple the outputs."""
        return self.n_outputs > 1 and not self.quadratic

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """N."""

    @abc.abstractmethod
    def values(self, theta) -> jax.Array:
        """Bθ, (F, n, p)."""

    @abc.abstractmethod
    def pull(self, slopes) -> jax.Array:
        """P slopes, (F, N, p), for slopes (F, n, p)."""

    @abc.abstractmethod
    def penalised(self, theta) -> jax.Array:
        """Gθ."""

    @abc.abstractmethod
    def pairing(self, residual, theta, values) -> jax.Array:
        """⟨∇J, h⟩_H (F,) of ∇J's residual and of h's coefficients and values."""

    def square_norm(self, theta, values) -> jax.Array:
        """‖h‖²_H, (F,)."""
        return self.pairing(self.penalised(theta), theta, values)

    @abc.abstractmethod
    def norm(self, residual) -> jax.Array:
        """‖∇J‖_H, (F,), of its residual."""

    @abc.abstractmethod
    def factorise(self, curvatures) -> Any:
        """What ``solve`` needs, for weighted curvatures (F, n), or (F, n, p, p) if coupled."""

    @abc.abstractmethod
    def solve(self, factor, rhs) -> jax.Array:
        """u with ∂r/∂θ u = rhs, both (F, N, p)."""

    @abc.abstractmethod
    def solve_transposed(self, factor, rhs) -> jax.Array:
        """u with (∂r/∂θ)ᵀ u = rhs."""

    def residual(self, theta) -> jax.Array:
        """r(θ), (F, N, p)."""
        return self.residual_of(theta, self.pointwise(self.values(theta)).slopes)

    def residual_of(self, theta, slopes) -> jax.Array:
        """r(θ) from the slopes at θ's values."""
        mean = self.pull(self.weights[:, :, None] * slopes) / self.total[:, None, None]
        return mean + self.ridge[:, None, None] * self.penalised(theta)

    def objective(self, theta, values, losses) -> jax.Array:
        """Σ wℓ + (α/2)‖h‖², (F,)."""
        fit = jnp.sum(self.weights * losses, 1)
        return fit + 0.5 * self.alpha * self.square_norm(theta, values)

    def curvatures(self, found: Pointwise) -> jax.Array:
        """The convex part of w ∂²ℓ: (F, n), or (F, n, p, p) if coupled."""
        if self.quadratic:
            return self.weights
        curvatures = found.curvatures if self.coupled else found.curvatures[:, :, 0, 0]
        weights = self.weights.reshape(self.weights.shape + (1,) * (curvatures.ndim - 2))
        return weights * jax.vmap(convex_part)(curvatures)
