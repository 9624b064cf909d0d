"""Inner problems with a regularizer: proximal steps, then Newton steps within its manifold."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import serial
from ..instance import of_instance
from ..linalg import traced_conjugate_gradients
from ..needs import Needs
from ..result import InvalidPoint, Status
from ..spaces import RegularizedFeatures
from .base import AdjointSolution, InnerSolution, Solver

PROBE = 5  # proximal steps between two Newton steps
SHRUNK = 0.5  # share of the residual to which a Newton step must bring it
CLOSER = 0.5  # share of tol at which the steps end, so that the last one is within it
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
        The residual is at most tol·(‖∇J(0)‖ + ‖∇J(θ₀)‖), θ₀ being the nearest point to 0 with
        finite R. It is in the metric of the steps: for L1 and Box each coefficient has its own
        step, in proportion to 1/(Σ_i w_i φ_j(x_i)²/Σw + ridge).
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
        self.values = self.space.on(None, instance.inner.x)
        self.shares = instance.inner.weight_matrix()
        self.shares = self.shares / jnp.sum(self.shares, -1, keepdims=True)
        each = self.space.regularizer
        self.tangent = jax.vmap(each.tangent)
        self.curvature_times = jax.vmap(each.curvature_times)

    def metric(self, theta):
        """Σ_i w_i φ_j(x_i)²/Σw + ridge, like θ, where R allows a step for each entry, or 1."""
        if not self.space.regularizer.separable:
            return jnp.ones_like(theta)
        square = jax.vmap(self.space.feature_map)(self.instance.inner.x) ** 2
        square = square if square.ndim == 2 else jnp.sum(square, -1)
        each = jnp.einsum("fi,iq->fq", self.shares, square)[:, :, None]
        least = jnp.finfo(theta.dtype).eps * jnp.max(each, 1, keepdims=True)
        curvature = jnp.maximum(jnp.broadcast_to(each, theta.shape), least)
        return curvature + _spread(self.instance.ridge) + 1e-300

    def prox(self, theta, scale):
        """prox of each replicate, at the rates 1/scale, (F,) or like θ."""
        return jax.vmap(self.space.regularizer.prox)(theta, 1 / scale)

    def step(self, point, slope, scale):
        """The proximal step from a point, with scale like θ, and the norm of scale times it."""
        rates = scale if self.space.regularizer.separable else scale[:, 0, 0]
        end = self.prox(point - slope / scale, rates)
        away = scale * (end - point)
        return end, jnp.sqrt(_dot(away, away))

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
    metric = smooth.metric(theta)
    nearest = smooth.prox(jnp.zeros_like(theta), jnp.full(len(theta), 1e12, theta.dtype))
    sizes = [smooth.gradient(point) for point in (jnp.zeros_like(theta), nearest)]
    unit = sum(jnp.sqrt(_dot(slope, slope)) for slope in sizes)
    scale_of = lambda lipschitz: metric * _spread(lipschitz)  # noqa: E731
    moved = lambda at, lipschitz: smooth.step(at, smooth.gradient(at), scale_of(lipschitz))  # noqa: E731

    def proximal(now):
        slope, scale = smooth.gradient(now.ahead), scale_of(now.lipschitz)
        theta, size = smooth.step(now.ahead, slope, scale)
        move = theta - now.ahead
        model = smooth.objective(now.ahead) + _dot(slope, move) + 0.5 * _dot(move, scale * move)
        value = smooth.objective(theta)
        slack = 1e2 * jnp.finfo(value.dtype).eps * (jnp.abs(value) + jnp.abs(model))
        met = value <= model + slack
        uphill = _dot(scale * (now.ahead - theta), theta - now.theta) > 0
        momentum = 0.5 * (1 + jnp.sqrt(1 + 4 * now.momentum**2))
        rate = jnp.where(uphill, 0.0, (now.momentum - 1) / momentum)
        ahead = theta + _spread(rate) * (theta - now.theta)
        keep = lambda new, old: jnp.where(_spread(met), new, old)  # noqa: E731
        return _State(
            keep(theta, now.theta), keep(ahead, now.ahead),
            jnp.where(met, jnp.where(uphill, 1.0, momentum), now.momentum),
            now.lipschitz * jnp.where(met, SLOWER, 2.0), jnp.where(met, size, now.residual),
            now.count + 1,
        )

    def newton(now):
        times, project, slope = smooth.within(now.theta)
        rhs = -project(slope + smooth.space.slopes(now.theta))
        precondition = lambda r: project(r / metric)  # noqa: E731
        direction, _ = traced_conjugate_gradients(times, rhs, precondition, 1e-12, max_cg)
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
        return (now.count < max_steps) & usable & jnp.any(now.residual > CLOSER * tol * unit)

    start = smooth.prox(theta, jnp.full(len(theta), 1e12, theta.dtype))  # into the constraints
    ones = jnp.ones(len(theta), theta.dtype)
    begun = _State(start, start, ones, ones, jnp.inf * ones, jnp.zeros((), jnp.int32))
    ended = jax.lax.while_loop(going, step, begun)
    theta, residual = moved(ended.theta, ended.lipschitz)
    relative = jnp.where(residual > 0, residual / jnp.where(unit > 0, unit, 1e-300), 0.0)
    generic = jax.random.normal(jax.random.key(0), theta.shape, theta.dtype)
    free = jnp.any(smooth.tangent(theta, generic) != 0, (1, 2))
    outside = smooth.space.evaluate(None, instance.outer.x, theta)
    return theta, residual, relative, free, smooth.values(theta), outside


@of_instance
def _adjoint(instance, theta, slopes, max_cg):
    smooth = _Smooth(instance)
    times, project, _ = smooth.within(theta)
    values, through_outer = jax.vjp(smooth.space.on(None, instance.outer.x), theta)
    rhs = -project(through_outer(slopes.astype(values.dtype))[0])
    metric = smooth.metric(theta)
    found, relative = traced_conjugate_gradients(
        times, rhs, lambda r: project(r / metric), 1e-13, max_cg
    )
    a = project(found)
    return a, smooth.values(a), relative


class ProximalSolution(InnerSolution):
    """An inner solution found by proximal and Newton steps, in the constructor."""

    certified = False  # the bounds are for solutions without a regularizer
    jitter = 0.0
    gram = None

    def __init__(self, instance, solver, state):
        self.instance, self._max_cg = instance, solver.max_cg
        fault, ridge = instance.space.regularizer.fault(), np.asarray(instance.ridge)
        if fault:
            raise InvalidPoint(f"{type(instance.space.regularizer).__name__}: {fault}")
        if not (np.isfinite(ridge) & (ridge >= 0)).all():
            raise InvalidPoint(f"ridge={ridge.tolist()} must be at least 0 and finite")
        fresh = instance.space.start(None, instance.inner, instance.n_outputs, len(ridge))
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
        elif worst > solver.tol:
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
