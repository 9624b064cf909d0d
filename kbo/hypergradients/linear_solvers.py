"""Approximate solutions of Hv = b from products with H alone, for F systems at once."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp

POSITIVE = ("steps", "step_size", "scale")


class LinearSolver(eqx.Module):
    """Maps H, b and a start to an approximate solution v of Hv = b."""

    def __check_init__(self):
        for name in POSITIVE:
            if not getattr(self, name, 1) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must be positive")
        if not getattr(self, "tol", 0) >= 0:
            raise ValueError(f"tol={self.tol!r} must not be negative")

    @abc.abstractmethod
    def solve(self, multiply, b, start) -> tuple[jax.Array, jax.Array]:
        """v and b − Hv, (F, N) each.

        Parameters
        ----------
        multiply : callable
            (F, N) ↦ (F, N), a symmetric H_f for each row.
        b : array (F, N)
        start : array (F, N) or None
            None is zero, and costs no product.
        """


def _begin(multiply, b, start):
    """The start and its residual."""
    return (jnp.zeros_like(b), b) if start is None else (start, b - multiply(start))


class Direct(LinearSolver):
    """v = H⁺b, from the eigenvalues of a dense H: the oracle, for small problems.

    N products make H; O(F N³) time, O(F N²) memory. The least-norm solution where H is singular,
    as it is for networks with redundant weights.
    """

    def solve(self, multiply, b, start):
        """See LinearSolver; the start is not used."""
        N = b.shape[1]
        columns = jax.lax.map(
            lambda e: multiply(jnp.broadcast_to(e, b.shape)), jnp.eye(N, dtype=b.dtype)
        )
        H = columns.transpose(1, 2, 0)
        values, vectors = jnp.linalg.eigh(0.5 * (H + H.transpose(0, 2, 1)))
        sizes = jnp.abs(values)
        determined = sizes > N * jnp.finfo(b.dtype).eps * jnp.max(sizes, 1, keepdims=True)
        inverses = jnp.where(determined, 1 / jnp.where(determined, values, 1), 0)
        v = jnp.einsum("fij,fj,fkj,fk->fi", vectors, inverses, vectors, b)
        return v, b - multiply(v)


class CG(LinearSolver):
    """Conjugate gradients: ‖v_K − v‖_H ≤ 2 ((√κ − 1)/(√κ + 1))^K ‖v_0 − v‖_H.

    One product per step, and one at the end for the residual as it is, which rounding keeps above
    that of the recurrence. A system ends where the latter is at most ``tol``·‖b‖ or rounding, or
    where H has no positive curvature along the next direction (a network's H may be indefinite).

    Parameters
    ----------
    steps : int
        K, at most.
    tol : float

    References
    ----------
    Pedregosa (2016), Hyperparameter Optimization with Approximate Gradient, Algorithm 1.
    Grazzi et al. (2020), On the Iteration Complexity of Hypergradient Computation, Section 3.2.
    """

    steps: int = 10
    tol: float = 0.0

    def solve(self, multiply, b, start):
        """See LinearSolver."""
        dot = lambda u, v: jnp.sum(u * v, 1, keepdims=True)  # noqa: E731
        v, residual = _begin(multiply, b, start)
        enough = jnp.maximum(self.tol, jnp.finfo(b.dtype).eps) ** 2 * dot(b, b)

        def step(carry):
            k, v, residual, direction, rho, _ = carry
            image = multiply(direction)
            curvature = dot(direction, image)
            going = (rho > enough) & (curvature > 0)
            length = jnp.where(going, rho / jnp.where(going, curvature, 1), 0)
            v, residual = v + length * direction, residual - length * image
            after = dot(residual, residual)
            ratio = jnp.where(going, after / jnp.where(going, rho, 1), 0)
            # A system that has ended keeps a zero direction, and so stays as it is.
            direction = jnp.where(going, residual + ratio * direction, 0)
            return k + 1, v, residual, direction, jnp.where(going, after, 0), going

        def unfinished(carry):
            k, _, _, _, rho, going = carry
            return (k < self.steps) & jnp.any(going & (rho > enough))

        rho = dot(residual, residual)
        first = (0, v, residual, residual, rho, jnp.ones_like(rho, bool))
        v = jax.lax.while_loop(unfinished, step, first)[1]
        return v, b - multiply(v)


class Neumann(LinearSolver):
    """v_K = s Σ_{k<K} (I − sH)^k b: ‖v_K − v‖ ≤ (1 − sμ)^K ‖v‖ for s ≤ 1/‖H‖, H ⪰ μ.

    From another start than zero it is the fixed-point iteration v ← v − s(Hv − b).

    Parameters
    ----------
    steps : int
        K.
    step_size : float
        s, below 2/‖H‖: above it the series diverges.

    References
    ----------
    Lorraine, Vicol, Duvenaud (2020), Optimizing Millions of Hyperparameters by Implicit
    Differentiation, Algorithm 3. Grazzi et al. (2020), Section 3.2 (fixed point).
    """

    steps: int = 10
    step_size: float = 0.1

    def solve(self, multiply, b, start):
        """See LinearSolver."""

        def step(_, carry):
            v, residual = carry
            change = self.step_size * residual
            return v + change, residual - multiply(change)

        return jax.lax.fori_loop(0, self.steps, step, _begin(multiply, b, start))


class Identity(LinearSolver):
    """v = s·b, no product at all: the Jacobian-free hypergradient.

    As good as H is close to I/s. Its residual would cost the product that it saves, so that it is
    not known (infinite).

    Parameters
    ----------
    scale : float
        s.

    References
    ----------
    Fung et al. (2022), JFB: Jacobian-Free Backpropagation for Implicit Networks, eq. (11).
    """

    scale: float = 1.0

    def solve(self, multiply, b, start):
        """See LinearSolver; the start is not used."""
        return self.scale * b, jnp.full_like(b, jnp.inf)
