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
from .law import check_draw, check_law, check_nodes, mean_is_enough


def gauss_legendre(level, low=-1.0, high=1.0):
    """Gauss-Legendre nodes and their probabilities, for the uniform distribution on an interval."""
    nodes, weights = np.polynomial.legendre.leggauss(level)
    return 0.5 * (low + high) + 0.5 * (high - low) * nodes, 0.5 * weights


FINE, MANY = 160, 25_000  # level and number of nodes at which the law is compared, at most


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
        random given x, each of their values is a node of its own, at the same x. If the
        derivative of the inner loss in h is affine in the target, as that of a squared loss is,
        E[t | x] may stand for the inner targets.
    draw : callable
        (random, n) ↦ ((x, targets), (x', targets')), n samples of each, drawn from the Generator
        ``random`` alone. Their law is compared with the rule's; see Raises.
    box : pair of array-like (q,)
        The lower and the upper corner of the box of ω, in which the truth is exact to
        ``error_bound``.
    tol : float
        The level doubles until value and gradient change by less than this at a random point of the
        box and at its corners (at most eight of them). Twice that change is the ``error_bound``,
        which is an estimate.
    levels : iterable of int
        A single level is taken as exact: for a law on finitely many points.
    outside : tuple of str
        The assumptions of the theorem that the problem does not meet, in words.

    Raises
    ------
    ValueError
        If no level reaches ``tol``, or more levels give no more nodes; for probabilities that do
        not sum to 1; if expectations by the rule and over 20,000 draws differ by more than six
        standard errors; for a draw of another size; for a ridge or tolerance that is not positive,
        an invalid box, and an ω outside of it at which more nodes change value or gradient.
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
        check_draw(draw)
        levels, self._tol = tuple(levels), positive("tol", tol)
        if not levels:
            raise ValueError("levels is empty: give the levels of the rule, such as (10, 20, 40)")
        self._exact, self._finer = len(levels) == 1, None
        self.error_bound, self.level, self._problem = self._refine(self._tol, levels)
        nodes = self._fine_nodes()
        with jax.enable_x64(True):
            mean = mean_is_enough(losses[0], self.start(0), nodes[0][1])
        check_law(nodes, draw, mean)

    def _refine(self, tol, levels):
        corners = [np.where(ends, *self.box[::-1]) for ends in np.ndindex(*[2] * self.size)]
        probes = [self.start(0), *corners[:8]]
        last, change, size = None, np.inf, 0
        for level in levels:
            nodes = self.rule(level)
            check_nodes(nodes)
            if sum(len(side[0]) for side in nodes) <= size:
                raise ValueError(
                    f"{self.name}: rule has no more nodes at level {level} than at the level "
                    "before; for a law on finitely many points give levels=(1,)"
                )
            size = sum(len(side[0]) for side in nodes)
            problem = self._assemble(*nodes)
            if self._exact:
                return 1e-12, level, problem
            found = np.array([np.append(*self._at(problem, omega)) for omega in probes])
            if last is not None:
                changes = np.abs(found - last)
                change = changes.max()
                if change < tol:
                    # Each doubling at least halves the error, which is now below the change.
                    return float(2 * change + 1e-12), level, problem
            last = found
        raise ValueError(
            f"{self.name}: {_entry(changes)} still changes by {change:.1e} at level {level}, "
            f"omega={probes[changes.max(1).argmax()].tolist()}: allow more levels, or a larger "
            "tol; for a density with heavy tails or a singularity, change the variable so that the "
            "integrand is smooth"
        )

    def _fine_nodes(self):
        """Nodes that integrate faster waves than value and gradient need, while they are few."""
        level, nodes = self.level, self.rule(self.level)
        while not self._exact and level < FINE and max(len(x) for x, _, _ in nodes) < MANY:
            level *= 2
            nodes = self.rule(level)
        return nodes

    def _assemble(self, inner, outer):
        with jax.enable_x64(True):
            return kbo.BilevelProblem(
                inner_loss=self.losses[0], outer_loss=self.losses[1],
                inner_data=kbo.Sample(*inner), outer_data=kbo.Sample(*outer),
                space=self.space, ridge=self.ridge,
            )

    @property
    def in_rkhs(self):
        """Always."""
        return True

    @staticmethod
    def _at(problem, omega):
        with jax.enable_x64(True):
            found = kbo.value_and_hypergradient(problem, np.asarray(omega, float))
        return found.value, np.asarray(found.grad)

    def _verify(self, vector, value, grad):
        """ValueError if ω lies outside of the box, and twice the level changes L or ∇L there.

        A gradient descent may leave the box.
        """
        low, high = self.box
        if self._exact or not ((vector < low).any() or (vector > high).any()):
            return
        if self._finer is None:
            self._finer = self._assemble(*self.rule(2 * self.level))
        finer = np.append(*self._at(self._finer, vector))
        change = np.abs(finer - np.append(value, grad)).max()
        if not change < self._tol:
            raise ValueError(
                f"omega={vector.tolist()} lies outside of the box {low.tolist()} to "
                f"{high.tolist()}, in which the quadrature was made exact, and there twice the "
                f"level changes value or gradient by {change:.1e}: give a larger box="
            )

    def value_and_grad(self, omega):
        """L(ω) and ∇L(ω), (q,), of the problem on the nodes."""
        vector = self._checked(omega)
        found = self._at(self._problem, vector)
        self._verify(vector, *found)
        return found

    def _functions(self, omega):
        vector = self._checked(omega)
        with jax.enable_x64(True):
            found = kbo.value_and_hypergradient(self._problem, vector)
        self._verify(vector, found.value, found.grad)
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
        for side, asked in ((inner, n), (outer, m)):
            if len(side[0]) != asked:
                raise ValueError(f"draw(random, {asked}) returned {len(side[0])} samples")
        return self._assemble(inner, outer)


def _entry(changes):
    """What of value and gradient has changed most; ``changes`` is (probes, 1 + q)."""
    entry = int(changes.max(0).argmax())
    return "the value" if entry == 0 else f"entry {entry - 1} of the gradient"
