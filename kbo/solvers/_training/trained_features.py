"""Features φ trained by a gradient method, and the exact solutions h and a on top of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ... import serial
from ...arithmetic import resolve
from ...instance import of_instance
from ...losses import Loss
from ...module import Module
from ...problem import Sample
from ..base import InnerSolution
from ..exact import Exact
from .descent import Trained, batch_of, judged, train
from .last_layer import last_layer
from .objectives import Pointwise, penalised, shares_of


def features_objective(instance, of):
    """(params, rows) ↦ min_h J(h) over the functions h on top of φ."""

    def objective(params, rows):
        batch = batch_of(instance, rows)
        space, x = batch.space.with_weights(params), batch.inner.x
        linear = batch.space.kernel is None
        design = (space.features(x) if linear else space.kernel.matrix(x, x))[None]
        shares = shares_of(instance, batch)
        of_batch = lambda values: of(values, batch, rows)  # noqa: E731
        layer = last_layer(batch, of_batch, design, shares, linear)
        values = design @ layer
        square = jnp.sum(layer * (layer if linear else values), (1, 2))
        return penalised(batch, shares, of_batch(values)[0], square)

    return objective


class OnTrained(Module):
    """ω ↦ the space on top of φ with given weights, where NeuralFeatures may depend on ω.

    Parameters
    ----------
    space : NeuralFeatures or callable of ω
    params : pytree
    """

    space: Any
    params: Any

    def __call__(self, omega):
        """The space at ω."""
        return resolve(self.space, omega).with_weights(self.params)


class Bowl(Loss):
    """½‖v‖² + s·v, which is any loss of constant curvature at a fixed ω, up to a constant."""

    constant_curvature = True

    def __call__(self, omega, prediction, target):
        return jnp.sum((0.5 * prediction + target) * prediction)


@of_instance
def _fit_features(instance, trained, plan, key):
    of = Pointwise.of(instance)
    trained, report = train(features_objective(instance, of), instance, trained, plan, key)
    return trained, report, of.at_zero


class TrainedFeatures(InnerSolution):
    """h_ω on features φ: the constructor trains φ, then solves exactly on top of it."""

    def __init__(self, instance, solver, space, state):
        if instance.ridge.shape[0] > 1:
            raise ValueError(
                "NeuralFeatures trains one φ, which would leak data between replicates (folds): "
                "use NeuralSpace, or one replicate"
            )
        plan = solver.plan()
        keys = jax.random.split(solver.key)
        if not isinstance(state, Trained):
            fresh = plan.start(space.initial(keys[0], instance.inner.x[0]))
            state = serial.like(fresh, state)
        self.state, report, at_zero = _fit_features(instance, state, plan, keys[1])
        on_trained = OnTrained(instance.problem.space, self.state.params)
        self.instance = instance.replace(space=on_trained)
        self._solution = Exact().solve(_with_slopes(self.instance, at_zero))
        trained = judged(report, plan)
        solved = self._solution.status
        self.status = trained if solved.ok or not trained.completed else solved
        own = self._solution
        self.h_inner, self.h_outer, self.coefficients = own.h_inner, own.h_outer, own.coefficients
        self.residual, self.jitter, self.gram = own.residual, own.jitter, own.gram

    def adjoint(self, slopes):
        """The exact adjoint on top of φ."""
        return self._solution.adjoint(slopes)


def _with_slopes(instance, at_zero):
    """The instance with a Bowl of the known slopes, so that the loss is not evaluated again."""
    if at_zero is None:
        return instance
    slopes = at_zero[0] if instance.problem.n_outputs else at_zero[0, :, 0]
    # If slopes overflow, training has diverged and its status says so: the solve need not fail.
    slopes = jnp.where(jnp.isfinite(slopes), slopes, 0)
    inner = Sample(instance.inner.x, slopes, instance.inner.weights)
    return instance.replace(inner_loss=Bowl(), inner_data=inner)
