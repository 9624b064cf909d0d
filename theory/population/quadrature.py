"""Populations by quadrature, for any loss, kernel and smooth density.

The nodes, with their probabilities as weights, are samples for the project's own solver.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np

import kbo

from ..checks import positive, stream
from ..quantities import expansion
from .base import Population


def gauss_legendre(level, low=-1.0, high=1.0):
    """Gauss-Legendre nodes and their probabilities, for the uniform distribution on an interval."""
    nodes, weights = np.polynomial.legendre.leggauss(level)
    return 0.5 * (low + high) + 0.5 * (high - low) * nodes, 0.5 * weights


class _MovingSpace(eqx.Module):
    """ω ↦ the RKHS of a kernel that depends on ω."""

    kernel: Callable

    def __call__(self, omega):
        return kbo.RKHS(self.kernel(omega))


class QuadraturePopulation(Population):
    """The problem on quadrature nodes, whose number doubles until value and gradient settle.

    Parameters
    ----------
    name : str
    losses : pair of callable
        Inner and outer.
    kernel : kbo.kernels.Kernel or callable of ω
    ridge : float or callable of ω
    rule : callable
        level ↦ (inner, outer), each (x (N, p), targets, probabilities (N,)). Where targets are
        random given x, each of their values is a node of its own, at the same x.
    draw : callable
        (random, n) ↦ ((x, targets), (x', targets')), n samples of each.
    box : pair of array-like
    tol : float
        The level doubles until value and gradient change by less than this at a random point of the
        box and at its corners (at most eight of them). Twice that change is the ``error_bound``,
        which is an estimate.
    levels : iterable of int
    outside : tuple of str

    Raises
    ------
    ValueError
        If no level reaches ``tol``, for a ridge or tolerance that is not positive, and for an
        invalid box.
    """

    def __init__(
        self, name, losses, kernel, ridge, rule, draw, box, tol=1e-8,
        levels=(10, 20, 40, 80, 160, 320, 640, 1280), outside=(),
    ):
        self.name, self.losses, self.rule, self.draw = name, losses, rule, draw
        fixed = isinstance(kernel, kbo.kernels.Kernel)
        self.space = kbo.RKHS(kernel) if fixed else _MovingSpace(kernel)
        self.ridge = ridge if callable(ridge) else positive("ridge", ridge)
        self._enter(box, outside)
        self.error_bound, self.level, self._problem = self._refine(positive("tol", tol), levels)

    def _refine(self, tol, levels):
        corners = [np.where(ends, *self.box[::-1]) for ends in np.ndindex(*[2] * self.size)]
        probes = [self.start(0), *corners[:8]]
        last, change = None, np.inf
        for level in levels:
            problem = self._assemble(*self.rule(level))
            found = np.array([np.append(*self._at(problem, omega)) for omega in probes])
            if last is not None:
                change = np.abs(found - last).max()
                if change < tol:
                    # Each doubling at least halves the error, which is now below the change.
                    return float(2 * change + 1e-12), level, problem
            last = found
        raise ValueError(
            f"{self.name}: value or gradient still change by {change:.1e} at level {level}: allow "
            "more levels, or a larger tol"
        )

    def _assemble(self, inner, outer):
        with jax.enable_x64(True):
            return kbo.BilevelProblem(
                inner_loss=self.losses[0], outer_loss=self.losses[1],
                inner_data=kbo.Sample(*inner), outer_data=kbo.Sample(*outer),
                space=self.space, ridge=self.ridge,
            )

    @staticmethod
    def _at(problem, omega):
        with jax.enable_x64(True):
            found = kbo.value_and_hypergradient(problem, np.asarray(omega, float))
        return found.value, np.asarray(found.grad)

    def value_and_grad(self, omega):
        """L(ω) and ∇L(ω), (q,), of the problem on the nodes."""
        return self._at(self._problem, self._checked(omega))

    def _functions(self, omega):
        with jax.enable_x64(True):
            found = kbo.value_and_hypergradient(self._problem, self._checked(omega))
        return found.inner, found.adjoint

    def inner(self, omega, x):
        """h*_ω(x), (n,)."""
        return np.asarray(self._functions(omega)[0](x))

    def adjoint(self, omega, x):
        """a*_ω(x), (n,)."""
        return np.asarray(self._functions(omega)[1](x))

    def square_norms(self, omega):
        """(‖h*‖²_H, ‖h*‖²_L2, ‖a*‖²_H, ‖a*‖²_L2) at ω."""
        found, weights = [], np.asarray(self._problem.inner_data.weight_matrix())[0]
        nodes = np.asarray(self._problem.inner_data.x)
        for function in self._functions(omega):
            anchors, theta = expansion(function)
            found.append(float(theta @ np.asarray(function(anchors))))
            found.append(float(weights @ np.asarray(function(nodes)) ** 2 / weights.sum()))
        return tuple(found)

    def points(self, n, random_state):
        """n inner points without targets, (n, p)."""
        return self.draw(stream("points", random_state), n)[0][0]

    def sample(self, n, m, random_state):
        """The empirical problem on n inner and m outer samples."""
        random = np.random.default_rng(random_state)
        inner, outer = self.draw(random, n)[0], self.draw(random, m)[1]
        return self._assemble(inner, outer)
