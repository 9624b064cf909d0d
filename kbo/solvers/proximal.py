"""Inner problems with a regularizer: proximal steps, then Newton steps within its manifold."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import serial
from ..instance import of_instance
from ..needs import Needs
from ..result import Status
from ..spaces import RegularizedFeatures
from .base import AdjointSolution, InnerSolution, Solver

PROBE = 5  # proximal steps between two Newton steps
SHRUNK = 0.5  # share of the residual to which a Newton step must bring it
SLOWER = 0.95  # factor of the Lipschitz estimate after a step that met it
ADJOINT = 1e-9  # relative residual of the adjoint's system that counts as solved


class Proximal(Solver):
    """θ ← prox_{R/s}(z − ∇J(z)/s), accelerated, and θ ← θ + d where P(∂²J + ∂²R)P d = −P(∂J + ∂R).

    P projects onto the tangent space of the manifold on which R is smooth near θ. The step 1/s is
    found by backtracking, the acceleration restarts where it points uphill, and d comes from
    conjugate gradients. Newton steps are kept where they halve the residual ‖s(θ − prox(θ −
    ∇J(θ)/s))‖. The adjoint a solves P(∂²J + ∂²R)P a = −P∂_θL: implicit differentiation within the
    manifold.

    Parameters
    ----------
    max_steps : int
        Proximal steps.
    tol : float
        The residual is at most tol·‖∇J(0)‖.
    max_cg : int
        Steps of conjugate gradients, for a Newton step and for the adjoint.

    References
    ----------
    Beck, Teboulle (2009), A Fast Iterative Shrinkage-Thresholding Algorithm, Section 4.
    O'Donoghue, Candès (2015), Adaptive Restart for Accelerated Gradient Schemes, Section 3.2.
    Bareilles, Iutzeler, Malick (2023), Newton Acceleration on Manifolds Identified by Proximal
    Gradient Methods, Algorithm 1.
    """

    max_steps: int = 5000
    tol: float = 1e-10
    max_cg: int = 1000

    double = True
    needs = Needs(
        spaces=(RegularizedFeatures,),
        remedy="use solver=None, which chooses the space's own, for spaces without a regularizer",
    )
    remedy = "raise max_steps or max_cg of solver=kbo.solvers.Proximal(…), or loosen its tol"

    def __check_init__(self):
        for name in ("max_steps", "max_cg"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r} must be at least 1")
        if not self.tol > 0:
            raise ValueError(f"tol={self.tol!r} must be positive")

    def within(self, tol):
        """With another relative tolerance."""
        return dataclasses.replace(self, tol=tol)

    def solve(self, instance, state=None):
        """The inner solution, and what its adjoint needs."""
        return ProximalSolution(instance, self, state)


class _Smooth:
    """J and what R adds to its derivatives within the manifold, over all replicates."""

    def __init__(self, instance):
        self.instance, self.space = instance, instance.space
        self.values = self.space.on(instance.inner.x)
        self.shares = instance.inner.weight_matrix()
        self.shares = self.shares / jnp.sum(self.shares, -1, keepdims=True)
        each = self.space.regularizer
        self.tangent = jax.vmap(each.tangent)
        self.curvature_times = jax.vmap(each.curvature_times)

    def prox(self, theta, rate):
        """prox_{rate R} of each replicate, for rates (F,)."""
        return jax.vmap(self.space.regularizer.prox)(theta, rate)

    def objective(self, theta):
        """J of each replicate, (F,)."""
        kept, values = self.instance.inner_kept(self.values(theta))
        losses = jnp.where(kept, self.shares * self.instance.inner_losses(values), 0)
        return jnp.sum(losses, -1) + 0.5 * self.instance.ridge * _dot(theta, theta)

    def gradient(self, theta):
        """∂J, (F, q, p): J of each replicate depends on its own θ alone."""
        return jax.grad(lambda at: jnp.sum(self.objective(at)))(theta)

    def within(self, theta):
        """d ↦ P(∂²J + ∂²R)P d, and P, at θ."""
        slope, hessian_times = jax.linearize(self.gradient, theta)
        project = lambda d: self.tangent(theta, d)  # noqa: E731

        def times(direction):
            d = project(direction)
            return project(hessian_times(d) + self.curvature_times(theta, slope, d))

        return times, project, slope


def _dot(a, b):
    return jnp.sum(a * b, (1, 2))


def _spread(numbers):
    return numbers[:, None, None]


def _conjugate_gradients(times, rhs, tol, max_steps):
    """u with A_f u_f = r_f for all replicates; the relative residuals (F,)."""
    least = tol**2 * _dot(rhs, rhs)

    def going(carry):
        _, residual, _, k = carry
        return (k < max_steps) & jnp.any(_dot(residual, residual) > least)

    def step(carry):
        u, residual, direction, k = carry
        rho = _dot(residual, residual)
        image = times(direction)
        curvature = _dot(direction, image)
        active = (rho > least) & (curvature > 0)
        length = _spread(jnp.where(active, rho / jnp.where(active, curvature, 1.0), 0.0))
        u, residual = u + length * direction, residual - length * image
        growth = _dot(residual, residual) / jnp.where(rho > 0, rho, 1.0)
        return u, residual, residual + _spread(growth) * direction, k + 1

    start = (jnp.zeros_like(rhs), rhs, rhs, 0)
    u, *_ = jax.lax.while_loop(going, step, start)
    rest, size = rhs - times(u), jnp.sqrt(_dot(rhs, rhs))
    return u, jnp.sqrt(_dot(rest, rest)) / jnp.where(size > 0, size, 1.0)


class _State(NamedTuple):
    theta: jax.Array  # (F, q, p), or (F, q, 1)
    ahead: jax.Array  # z
    momentum: jax.Array  # t of the acceleration, (F,)
    lipschitz: jax.Array  # s, (F,)
    residual: jax.Array  # at θ, (F,)
    count: jax.Array


@of_instance
def _solve(instance, theta, max_steps, tol, max_cg):
    smooth = _Smooth(instance)
    zero = smooth.gradient(jnp.zeros_like(theta))
    scale = jnp.sqrt(_dot(zero, zero))
    unit = jnp.maximum(scale, 1e-300)

    def moved(point, lipschitz):
        """The proximal step from a point, and the residual there."""
        end = smooth.prox(point - smooth.gradient(point) / _spread(lipschitz), 1 / lipschitz)
        away = end - point
        return end, lipschitz * jnp.sqrt(_dot(away, away))

    def proximal(now):
        slope, lipschitz = smooth.gradient(now.ahead), now.lipschitz
        theta = smooth.prox(now.ahead - slope / _spread(lipschitz), 1 / lipschitz)
        move = theta - now.ahead
        square = _dot(move, move)
        model = smooth.objective(now.ahead) + _dot(slope, move) + 0.5 * lipschitz * square
        value = smooth.objective(theta)
        slack = 1e2 * jnp.finfo(value.dtype).eps * (jnp.abs(value) + jnp.abs(model))
        met = value <= model + slack
        uphill = _dot(now.ahead - theta, theta - now.theta) > 0
        momentum = 0.5 * (1 + jnp.sqrt(1 + 4 * now.momentum**2))
        rate = jnp.where(uphill, 0.0, (now.momentum - 1) / momentum)
        ahead = theta + _spread(rate) * (theta - now.theta)
        keep = lambda new, old: jnp.where(_spread(met), new, old)  # noqa: E731
        residual = jnp.where(met, lipschitz * jnp.sqrt(square), now.residual)
        return _State(
            keep(theta, now.theta), keep(ahead, now.ahead),
            jnp.where(met, jnp.where(uphill, 1.0, momentum), now.momentum),
            lipschitz * jnp.where(met, SLOWER, 2.0), residual, now.count + 1,
        )

    def newton(now):
        times, project, slope = smooth.within(now.theta)
        rhs = -project(slope + smooth.space.slopes(now.theta))
        direction, _ = _conjugate_gradients(times, rhs, 1e-12, max_cg)
        theta, _ = moved(now.theta + project(direction), now.lipschitz)
        _, before = moved(now.theta, now.lipschitz)
        after, residual = moved(theta, now.lipschitz)
        better = residual < SHRUNK * before
        keep = lambda new, old: jnp.where(_spread(better), new, old)  # noqa: E731
        return now._replace(
            theta=keep(after, now.theta), ahead=keep(after, now.ahead),
            momentum=jnp.where(better, 1.0, now.momentum),
            residual=jnp.where(better, residual, now.residual),
        )

    def step(now):
        now = proximal(now)
        return jax.lax.cond(now.count % PROBE == 0, newton, lambda same: same, now)

    def going(now):
        usable = ~jnp.any(jnp.isnan(now.residual))
        return (now.count < max_steps) & usable & jnp.any(now.residual > tol * unit)

    start = smooth.prox(theta, jnp.full(scale.shape, 1e-12, theta.dtype))  # into the constraints
    lipschitz = jnp.ones_like(scale) + instance.ridge
    ones = jnp.ones_like(scale)
    begun = _State(start, start, ones, lipschitz, jnp.inf * ones, jnp.zeros((), jnp.int32))
    ended = jax.lax.while_loop(going, step, begun)
    theta, residual = moved(ended.theta, ended.lipschitz)
    generic = jax.random.normal(jax.random.key(0), theta.shape, theta.dtype)
    free = jnp.any(smooth.tangent(theta, generic) != 0, (1, 2))
    x = instance.outer.x
    return theta, residual, residual / unit, free, smooth.values(theta), (
        smooth.space.evaluate(None, x, theta)
    )


@of_instance
def _adjoint(instance, theta, slopes, max_cg):
    smooth = _Smooth(instance)
    times, project, _ = smooth.within(theta)
    through_outer = jax.vjp(smooth.space.on(instance.outer.x), theta)[1]
    rhs = -project(through_outer(slopes)[0])
    found, relative = _conjugate_gradients(times, rhs, 1e-13, max_cg)
    a = project(found)
    return a, smooth.values(a), relative


class ProximalSolution(InnerSolution):
    """An inner solution found by proximal and Newton steps, in the constructor."""

    certified = False  # the bounds are for solutions without a regularizer
    jitter = 0.0
    gram = None

    def __init__(self, instance, solver, state):
        self.instance, self._max_cg = instance, solver.max_cg
        p, replicates = instance.n_outputs, instance.ridge.shape[0]
        fresh = instance.space.start(instance.inner, p, replicates)
        theta, residual, relative, free, inner, outer = _solve(
            instance, serial.like(fresh, state), np.asarray(solver.max_steps),
            np.asarray(solver.tol), np.asarray(solver.max_cg),
        )
        self.coefficients = self.state = np.asarray(theta)
        self.h_inner, self.h_outer = np.asarray(inner), np.asarray(outer)
        self.residual, worst = float(np.max(residual)), float(np.max(relative))
        self.status = Status.CONVERGED
        if not np.isfinite(worst):
            self.status = Status.NON_FINITE
        elif worst > 10 * solver.tol:  # the last step lowers the residual, up to rounding
            self.status = Status.INNER_NOT_CONVERGED
        elif not np.any(free):
            self.status = Status.HELD

    def adjoint(self, slopes):
        """a within the manifold: P(∂²J + ∂²R)P a = −P∂_θL."""
        a, values, relative = _adjoint(
            self.instance, self.coefficients, np.asarray(slopes), np.asarray(self._max_cg)
        )
        worst = float(np.max(relative))
        status = Status.CONVERGED if worst <= ADJOINT else Status.ADJOINT_NOT_CONVERGED
        return AdjointSolution(
            np.asarray(a), np.asarray(a), False, worst, status, np.asarray(values)
        )
