"""A network's last layer solved for exactly: while φ is trained, and for h and a once it is."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .base import InnerSolution
from .descent import Trained, batch_of, descend, judged, restored
from .exact import Exact
from .objectives import constant_curvature, pointwise

NEWTON_STEPS = 6  # for the last layer within a training step, where the loss is not squared


def features_objective(instance):
    """(params, rows) to min_h J(h) over the h on top of φ.

    The minimiser is held fixed in the derivative: it is a minimiser, so it adds nothing.
    """
    total = jnp.sum(instance.inner.weight_matrix())
    of = pointwise(instance, instance.problem.n_outputs or 1)

    def objective(params, rows):
        batch = batch_of(instance, rows)
        space = batch.space.with_weights(params)
        linear = batch.space.kernel is None
        x = batch.inner.x
        design = space.features(x) if linear else space.kernel.matrix(x, x)
        shares = (instance.inner.size / batch.inner.size) * batch.inner.weight_matrix()[0] / total
        of_batch = lambda values: of(values[None], batch, rows)  # noqa: E731
        layer = jax.lax.stop_gradient(_last_layer(batch, of_batch, design, shares, linear))
        values = design @ layer
        square = jnp.sum(layer**2) if linear else jnp.sum(layer * values)
        losses = of_batch(values)[0][0]
        mean = jnp.sum(shares * jnp.where(shares > 0, losses, 0))
        return mean + 0.5 * instance.ridge[0] * square

    return objective


def _last_layer(batch, of_batch, design, shares, linear):
    """argmin_W Σ shares ℓ(design W) + (ridge/2)‖W‖², ‖W‖² or trace WᵀKW: (q, p) or (b, p)."""
    ridge, constant = batch.ridge[0], constant_curvature(batch)
    p = batch.problem.n_outputs or 1

    def newton_step(_, layer):
        values = design @ layer
        slopes = of_batch(values)[1][0]
        if constant:
            aim = shares[:, None] * (values - slopes)
            return _solve(design, shares, aim, ridge, linear)
        curved = batch.inner_curvatures(values[None])[0]
        aim = shares[:, None] * (jnp.einsum("iab,ib->ia", curved, values) - slopes)
        return _solve_blocks(design, shares[:, None, None] * curved, aim, ridge, linear)

    start = jnp.zeros((design.shape[1], p), design.dtype)
    return newton_step(0, start) if constant else jax.lax.fori_loop(
        0, NEWTON_STEPS, newton_step, start
    )


def _solve(design, shares, aim, ridge, linear):
    """(ΦᵀSΦ + ridge)⁻¹Φᵀaim, or (SK + ridge)⁻¹aim in its symmetric form."""
    if linear:
        gram = design.T @ (shares[:, None] * design)
        gram = gram + ridge * jnp.eye(len(gram), dtype=gram.dtype)
        return jax.scipy.linalg.solve(gram, design.T @ aim, assume_a="pos")
    root = jnp.sqrt(shares)
    gram = root[:, None] * design * root + ridge * jnp.eye(len(design), dtype=design.dtype)
    inverse = jnp.where(root > 0, 1 / jnp.where(root > 0, root, 1), 0)
    return root[:, None] * jax.scipy.linalg.solve(gram, inverse[:, None] * aim, assume_a="pos")


def _solve_blocks(design, curved, aim, ridge, linear):
    """The same with weighted curvatures (b, p, p), which couple the outputs."""
    if linear:
        gram = jnp.einsum("iq,iab,ir->qarb", design, curved, design)
        right = design.T @ aim
    else:
        gram = jnp.einsum("iab,ij->iajb", curved, design)
        right = aim
    size = right.size
    gram = gram.reshape(size, size) + ridge * jnp.eye(size, dtype=design.dtype)
    return jnp.linalg.solve(gram, right.ravel()).reshape(right.shape)


class OnTrained(eqx.Module):
    """ω ↦ the space on top of φ with given weights; the NeuralFeatures may depend on ω.

    Parameters
    ----------
    space : NeuralFeatures or callable of ω
    params : pytree
    """

    space: Any
    params: Any

    def __call__(self, omega):
        """The space at ω."""
        space = self.space(omega) if callable(self.space) else self.space
        return space.with_weights(self.params)


@eqx.filter_jit
def _fit_features(problem, omega, trained, plan, key):
    instance = problem.at(omega)
    return descend(features_objective(instance), instance, trained, plan, key)


class TrainedFeatures(InnerSolution):
    """See InnerSolution: φ trained in the constructor, then the exact solution on top of it."""

    def __init__(self, problem, omega, solver, space, state):
        instance = problem.at(omega)
        if instance.ridge.shape[0] > 1:
            raise ValueError(
                "NeuralFeatures trains one φ, which replicates (folds) would share and leak "
                "through: use NeuralSpace, or one replicate"
            )
        plan = solver.plan()
        keys = jax.random.split(solver.key)
        if not isinstance(state, Trained):
            fresh = plan.start(space.initial(keys[0], instance.inner.x[0]))
            state = fresh if state is None else restored(state, fresh)
        self.state, report = _fit_features(problem, omega, state, plan, keys[1])
        self.problem = problem.replace(space=OnTrained(problem.space, self.state.params))
        self._solution = Exact().solve(self.problem, omega)
        trained = judged(report, plan)
        self.status = self._solution.status if trained.ok else trained

    def __getattr__(self, name):
        return getattr(self._solution, name)

    def adjoint(self, slopes):
        """See InnerSolution."""
        return self._solution.adjoint(slopes)
