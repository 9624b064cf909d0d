"""Contributions of each observation to L̂ and ∇L̂, on a whole sample and on parts of it."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.flatten_util import ravel_pytree

import kbo

AGREE = 1e-2  # relative change when the step is halved; the error is below a third of it
FLOOR = 1e-8  # relative to the contributions: changes below it are rounding


class Contributions:
    """ω ↦ (L̂, ∇L̂, w_i ∂L̂/∂w_i) as one vector (1 + q + n + m).

    w_i ∂L̂/∂w_i is the influence of observation i: the change of L̂, to first order, if i counts
    once more. Weights become part of ω, so that the hypergradient's one reverse pass gives all of
    these derivatives.

    Parameters
    ----------
    problem : BilevelProblem
        Without replicates; its samples do not depend on ω.
    weights : pair of ndarray (n,), (m,)
    solver : kbo.solvers.Solver or None
    unravel : callable
        Flat ω ↦ ω.
    """

    def __init__(self, problem, weights, solver, unravel):
        self._problem, self._weights = _with_weights(problem), weights
        self._solver, self._unravel = solver, unravel
        self._whole = self._on([np.arange(len(w)) for w in weights], weights)

    def whole(self, flat):
        """The contributions at ω, on the whole of both samples."""
        return self._at(flat, self._whole)

    def parts(self, orders, count):
        """ω ↦ the mean over ``count`` disjoint parts; ``orders`` are permutations of the rows."""
        cut = [self._on(*part) for part in self._cut(orders, count)]
        return lambda flat: np.mean([self._at(flat, part) for part in cut], axis=0)

    def _cut(self, orders, count):
        """Rows and weights of each part.

        All parts have one size, so that they share compiled programs: those that are a row short
        get another row with weight zero.
        """
        whole = [np.array_split(order, count) for order in orders]
        for parts in zip(*whole, strict=True):
            rows, weights = [], []
            for order, part, weight in zip(orders, parts, self._weights, strict=True):
                spare = np.setdiff1d(order, part)[: -(-len(order) // count) - len(part)]
                rows.append(np.append(part, spare))
                weights.append(np.append(weight[part], np.zeros(len(spare))))
            yield rows, weights

    def _on(self, rows, weights):
        """The problem on some rows, with the weights of these rows and the rows themselves."""
        problem = self._problem.replace(**{
            name: _Weighted(_taken(getattr(self._problem, name).sample, kept), name)
            for name, kept in zip(SAMPLES, rows, strict=True)
        })
        return problem, dict(zip(SAMPLES, weights, strict=True)), rows

    def _at(self, flat, part):
        problem, weights, rows = part
        found = kbo.value_and_hypergradient(
            problem, {"omega": self._unravel(flat), **weights}, solver=self._solver
        )
        out = [np.append(found.value, ravel_pytree(found.grad["omega"])[0])]
        for name, kept, weight in zip(SAMPLES, rows, self._weights, strict=True):
            influence = np.zeros(len(weight))
            np.add.at(influence, kept, weights[name] * found.grad[name])
            out.append(influence)
        return np.concatenate(out)


SAMPLES = "inner_data", "outer_data"


def _taken(sample, rows):
    if len(rows) == sample.size and (rows == np.arange(sample.size)).all():
        return sample
    take = lambda leaf: np.asarray(leaf)[rows]  # noqa: E731
    return kbo.Sample(take(sample.x), jax.tree.map(take, sample.target))


class _Weighted(eqx.Module):
    """ω ↦ a sample whose weights are an entry of ω."""

    sample: kbo.Sample
    key: str = eqx.field(static=True)

    def __call__(self, omega):
        return kbo.Sample(self.sample.x, self.sample.target, omega[self.key])


class _Inside(eqx.Module):
    """f as a function of the user's own ω, which is one entry of an ω that also holds weights."""

    function: Any

    def __call__(self, omega, *rest):
        return self.function(omega["omega"], *rest)


class _JointInside(kbo.losses.Joint):
    """The same as ``_Inside``, for a loss of all predictions at once."""

    function: Any

    def __call__(self, omega, predictions, targets, weights):
        return self.function(omega["omega"], predictions, targets, weights)


def _with_weights(problem):
    """The problem whose ω also holds the weights of both samples."""
    wrap = lambda part: _Inside(part) if callable(part) else part  # noqa: E731
    joint = isinstance(problem.outer_loss, kbo.losses.Joint)
    return problem.replace(
        inner_loss=_Inside(problem.inner_loss),
        outer_loss=(_JointInside if joint else _Inside)(problem.outer_loss),
        space=wrap(problem.space), ridge=wrap(problem.ridge), penalty=wrap(problem.penalty),
        **{name: _Weighted(getattr(problem, name), name) for name in SAMPLES},
    )


def central(function, flat, k, step):
    """(f(ω + step·e_k) − f(ω − step·e_k)) / (2·step)."""
    shift = step * np.eye(len(flat))[k]
    return (function(flat + shift) - function(flat - shift)) / (2 * step)


def suited_step(function, flat, k, step, size):
    """A step along ω_k at which the central difference of ``function`` settles, and the derivative.

    Steps relative to |ω_k|, which suit a ridge, are tried first. Where rounding or curvature rules
    them out, steps in absolute units follow, from ``step`` downwards. Settled means that halving
    the step changes the difference by less than a hundredth of it; the two differences are then
    extrapolated.

    Parameters
    ----------
    function : callable
        Flat ω ↦ vector.
    flat : ndarray (q,)
    k : int
    step : float
    size : float
        ‖f(ω)‖, the scale of rounding.

    Raises
    ------
    ValueError
        If no step settles.
    """
    own = abs(flat[k]) or 1.0
    reason = None
    for scale in dict.fromkeys([own, *10.0 ** -np.arange(13.0)]):
        try:
            far, near = (central(function, flat, k, step * scale / cut) for cut in (1, 2))
        except (kbo.BilevelError, ValueError) as error:  # the step leads out of the domain
            reason = error
            continue
        change, least = np.linalg.norm(far - near), FLOOR * size / max(own, 1.0)
        if change <= AGREE * np.linalg.norm(near) + least:
            return step * scale / 2, (4 * near - far) / 3
    raise ValueError(
        f"the derivative along entry {k} of omega ({flat[k]:g}) does not settle for any step: "
        "solve more accurately (the solver's tol), or check that the losses, space and ridge are "
        "smooth in omega there"
    ) from reason


def paired(inner, outer) -> bool:
    """Whether both samples hold the same observations row for row, judged by their points.

    Raises
    ------
    ValueError
        If they share only some observations, or all of them in another order.
    """
    points = [np.asarray(sample.x) for sample in (inner, outer)]
    if inner is outer or np.array_equal(*points):
        return True
    for rows in (points, _with_targets(inner, outer)):
        if rows is None:
            continue
        distinct = [{row.tobytes() for row in np.ascontiguousarray(side)} for side in rows]
        if [len(side) for side in distinct] != [len(side) for side in rows]:
            continue  # repeated rows: equal rows may be different observations
        common = len(distinct[0] & distinct[1])
        if common:
            raise ValueError(
                f"inner_data and outer_data share {common} observations of {len(rows[0])} and "
                f"{len(rows[1])}: give independent samples, or the same rows in the same order to "
                "both"
            )
        return False
    return False


def _with_targets(*samples):
    """Points and targets of each sample side by side, or None where they cannot be compared."""
    leaves = [[s.x, *jax.tree.leaves(s.target)] for s in samples]
    rows = [np.column_stack([np.asarray(v, float).reshape(len(v), -1) for v in side])
            for side in leaves]
    return rows if rows[0].shape[1] == rows[1].shape[1] else None


def positive_rows(inner, outer, both):
    """Both samples without rows of zero weight, and their weights (n,), (m,)."""
    samples, weights = (inner, outer), []
    for name, sample in zip(SAMPLES, samples, strict=True):
        matrix = np.asarray(sample.weight_matrix(), float)
        if len(matrix) != 1:
            raise ValueError(f"{name} has {len(matrix)} replicates: give one")
        weights.append(matrix[0])
    used = [weight > 0 for weight in weights]
    if both:
        used = [used[0] | used[1]] * 2
    rows = [np.flatnonzero(kept) for kept in used]
    taken = [_taken(sample, kept) for sample, kept in zip(samples, rows, strict=True)]
    return taken, [w[kept] for w, kept in zip(weights, rows, strict=True)]
