"""What an experiment measures: signed errors, and how large they are."""

from __future__ import annotations

import abc
import itertools
from functools import reduce

import jax
import numpy as np

from kbo.optimizers import GradientDescent

from .quadratic import Quadratic

NODES = 5  # of the interpolation along each axis of ω, where L is not quadratic
FINE = 21  # points of the grid along each axis on which the interpolant is evaluated


class Quantity(abc.ABC):
    """One quantity: its true value, the error of a sample's estimate, and the size of an error.

    Attributes
    ----------
    signed : bool
        Whether errors average out, so that bias and fluctuation can be told apart.
    times : tuple of int or None
        For a curve, the steps to which the entries of an error belong.
    """

    signed = True
    times = None

    @abc.abstractmethod
    def truth(self, population, omega):
        """What ``error`` compares the estimate with; computed once for each ω."""

    @abc.abstractmethod
    def size(self, truth) -> float:
        """The size of the truth, in the units of ``magnitude``."""

    def block(self, domain):
        """How many entries of an error belong to one point ω; None for all of them."""
        return None

    def resolution(self, errors, domain):
        """How far ``magnitude`` may be off, (R,); None where it is exact."""
        return None

    @abc.abstractmethod
    def error(self, estimate, population, omega, truth) -> np.ndarray:
        """The error of the estimate from one sample, (k,)."""

    def magnitude(self, errors, domain) -> np.ndarray:
        """The sizes of errors, (R, k) ↦ (R,), given the ``domain`` of the records."""
        return np.linalg.norm(errors, axis=1)


class Value(Quantity):
    """L̂(ω) − L(ω)."""

    def truth(self, population, omega):
        """L(ω)."""
        return population.value_and_grad(omega)[0]

    def size(self, truth):
        """The absolute value of L(ω)."""
        return float(abs(truth))

    def error(self, estimate, population, omega, truth):
        """L̂(ω) − L(ω), (1,)."""
        return np.array([estimate.value_and_grad(omega)[0] - truth])


class Grad(Quantity):
    """∇L̂(ω) − ∇L(ω)."""

    def truth(self, population, omega):
        """∇L(ω), (q,)."""
        return population.value_and_grad(omega)[1]

    def size(self, truth):
        """‖∇L(ω)‖."""
        return float(np.linalg.norm(truth))

    def error(self, estimate, population, omega, truth):
        """∇L̂(ω) − ∇L(ω), (q,)."""
        return estimate.value_and_grad(omega)[1] - truth


class Sup(Quantity):
    """The largest error over all of Ω, a box.

    It is exact where L is quadratic in ω, from 3^q points (value) or the vertices (gradient).
    Otherwise the error is interpolated from 5^q Chebyshev-Lobatto points to a fine grid, for
    q ≤ 3; ``resolution`` says how accurate that is.

    Parameters
    ----------
    part : 0 or 1
        Value or gradient.
    """

    def __init__(self, part):
        self.part = part

    def _points(self, domain):
        per_axis = (3 - self.part) if domain.quadratic else NODES
        if not domain.quadratic and domain.size > 3:
            raise ValueError("the sup over Ω needs L quadratic in ω, or at most 3 entries of ω")
        unit = _lobatto(per_axis)
        axes = [low + (high - low) * unit for low, high in zip(*domain.box, strict=True)]
        return np.array(list(itertools.product(*axes)))

    def truth(self, population, omega):
        """The points of Ω, (k, q), and L (k,) or ∇L (k, q) at each."""
        points = self._points(population)
        return points, np.array([population.value_and_grad(p)[self.part] for p in points])

    def size(self, truth):
        """The largest absolute value of L, or ‖∇L‖, at the points."""
        return float(np.linalg.norm(truth[1].reshape(len(truth[0]), -1), axis=1).max())

    def block(self, domain):
        """q entries for gradients, one for values."""
        return domain.size if self.part else 1

    def error(self, estimate, population, omega, truth):
        """The errors of L̂ or ∇L̂ at all points, concatenated."""
        return (estimate.values_and_grads(truth[0])[self.part] - truth[1]).ravel()

    def magnitude(self, errors, domain):
        """The largest error over Ω, for each of R repeats, (R,)."""
        q = domain.size
        shaped = errors.reshape(len(errors), -1, self.block(domain))
        if not domain.quadratic:
            shaped = _interpolation(NODES, FINE, q) @ shaped
        elif not self.part:
            return _quadratics(self._points(domain), shaped[..., 0]).sup_value(domain.box)
        return np.linalg.norm(shaped, axis=2).max(1)

    def resolution(self, errors, domain):
        """The sum of the Chebyshev coefficients of highest degree, to estimate those left out.

        This is an estimate: the coefficients of a smooth function fall geometrically, so that those
        beyond the reach of five points are smaller than the last ones within it.

        References
        ----------
        Trefethen (2019), Approximation Theory and Approximation Practice, chapters 4 and 8.
        """
        if domain.quadratic:
            return None
        q = domain.size
        axes = np.polynomial.chebyshev.chebvander(2 * _lobatto(NODES) - 1, NODES - 1)
        inverse = reduce(np.kron, [np.linalg.inv(axes)] * q)
        last = np.array(list(itertools.product(range(NODES), repeat=q))).max(1) == NODES - 1
        shaped = errors.reshape(len(errors), -1, self.block(domain))
        return np.linalg.norm(np.abs(inverse[last] @ shaped).sum(1), axis=1)


def _lobatto(size):
    """Chebyshev-Lobatto points in [0, 1], the ends included."""
    return 0.5 * (1 - np.cos(np.pi * np.arange(size) / (size - 1)))


def _interpolation(size, fine, q):
    """(fine^q, size^q): tensor Lagrange interpolation from Lobatto points to an even grid."""
    nodes, targets = _lobatto(size), np.linspace(0, 1, fine)
    basis = np.ones((fine, size))
    for k, node in enumerate(nodes):
        for other in np.delete(nodes, k):
            basis[:, k] *= (targets - other) / (node - other)
    return reduce(np.kron, [basis] * q)


def _quadratics(points, values):
    """The quadratics through values (R, 3^q) at the 3^q points."""
    q = points.shape[1]
    pairs = list(itertools.combinations_with_replacement(range(q), 2))
    design = np.column_stack([
        np.ones(len(points)), points, *[points[:, a] * points[:, b] for a, b in pairs]
    ])
    solution = values @ np.linalg.pinv(design).T
    A = np.zeros((len(values), q, q))
    for (a, b), coefficient in zip(pairs, solution[:, q + 1 :].T, strict=True):
        A[:, a, b] += coefficient
        A[:, b, a] += coefficient
    return Quadratic(A, -solution[:, 1 : q + 1], solution[:, 0])


class Descent(Quantity):
    """‖∇L(ω_T)‖ at the end of gradient descent on L̂, or min_{i≤t} ‖∇L(ω_i)‖ (Corollary 4.2).

    Parameters
    ----------
    which : {"end", "min", "curve"}
        "curve" is the minimum up to each of t = 0, 1, 2, 4, …, 512.
    """

    signed = False

    def __init__(self, which):
        self.which = which
        if which == "curve":
            self.times = (0, *[2**k for k in range(10)])

    def truth(self, population, omega):
        """‖∇L(ω_0)‖, the scale of the errors; the descent should end at zero."""
        return float(np.linalg.norm(population.value_and_grad(omega)[1]))

    def size(self, truth):
        """The truth itself."""
        return truth

    def error(self, estimate, population, omega, truth):
        """‖∇L‖ at the last step, its minimum, or the running minimum at ``times``."""
        steps = [np.asarray(omega, float)]
        lower, upper = (np.full(len(omega), end) for end in (-np.inf, np.inf))
        of = estimate.value_and_grad  # which has one tolerance, and cannot be tightened
        GradientDescent(max_steps=2000).run(
            lambda point, tighten=None: of(point) if tighten is None else None,
            lambda point: steps.append(point.copy()), steps[0], lower, upper,
        )
        norms = np.array([np.linalg.norm(population.value_and_grad(p)[1]) for p in steps])
        if self.which == "end":
            return norms[-1:]
        lowest = np.minimum.accumulate(norms)
        if self.which == "min":
            return lowest[-1:]
        return lowest[np.minimum(self.times, len(lowest) - 1)]

    def magnitude(self, errors, domain):
        """The last entry: for a curve, its end."""
        return errors[:, -1]  # of a curve, its end


class FunctionError(Quantity):
    """‖ĥ − h*‖ or ‖â − a*‖, in the RKHS (exactly) or in L2 (on 2,000 fresh points).

    Parameters
    ----------
    adjoint, rkhs : bool
    """

    signed = False

    def __init__(self, adjoint, rkhs):
        self.adjoint, self.rkhs = adjoint, rkhs

    def truth(self, population, omega):
        """‖h*‖² or ‖a*‖², fresh points, and the exact function's values there."""
        if not hasattr(population, "square_norms"):
            raise ValueError(f"{population.name} has no exact functions: drop this quantity")
        if self.rkhs and not population.in_rkhs:
            raise ValueError(f"h of {population.name} is in no RKHS: measure the error in L2")
        norms = population.square_norms(omega)
        points = population.points(2000, 987654321)
        exact = self._exact(population, omega, points)
        return norms[2 * self.adjoint + 1 - self.rkhs], points, exact

    def size(self, truth):
        """The norm of the exact function."""
        return float(np.sqrt(truth[0]))

    def _exact(self, population, omega, x):
        return (population.adjoint if self.adjoint else population.inner)(omega, x)

    def error(self, estimate, population, omega, truth):
        """The norm of the difference between estimated and exact function, (1,)."""
        square, points, exact = truth
        found = estimate.functions(omega)
        function = found.adjoint if self.adjoint else found.inner
        with jax.enable_x64(True):
            if not self.rkhs:
                return np.array([np.sqrt(np.mean((np.asarray(function(points)) - exact) ** 2))])
            anchors, theta = expansion(function)
            own = float(theta @ np.asarray(function(anchors)))
        cross = float(theta @ self._exact(population, omega, anchors))
        return np.array([np.sqrt(max(0.0, own - 2 * cross + square))])


def expansion(function):
    """(anchors (N, d), θ (N,)) with h = Σ θ_i k(anchor_i, ·)."""
    instance = function.instance
    centers = instance.space.centers
    if centers is not None:
        return np.asarray(centers), np.asarray(function.coefficients)[0, :, 0]
    anchors = np.asarray(instance.inner.x)
    if function.on_both:
        anchors = np.concatenate([anchors, np.asarray(instance.outer.x)])
    return anchors, np.asarray(function.coefficients)[0, :, 0]


QUANTITIES = {
    "value": Value(), "grad": Grad(), "sup_value": Sup(0), "sup_grad": Sup(1),
    "descent_end": Descent("end"), "descent_min": Descent("min"), "descent_curve": Descent("curve"),
    "h_rkhs": FunctionError(False, True), "h_l2": FunctionError(False, False),
    "a_rkhs": FunctionError(True, True), "a_l2": FunctionError(True, False),
}
