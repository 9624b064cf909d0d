"""Networks trained by gradient: FuncID's inner and adjoint loops."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from .. import serial
from ..instance import of_instance
from ..needs import Needs
from ..networks import LastLayer
from ..result import Status
from ..spaces import NeuralFeatures, NeuralSpace
from ..spaces.neural import Adjoint, Prediction
from ._training.descent import Plan, judged, train
from ._training.objectives import adjoint_objective, training_objective
from ._training.solved_layer import SolvedAdjoint, SolvedInner
from ._training.trained_features import TrainedFeatures
from .base import AdjointSolution, InnerSolution, Solver

# One object, so that what was compiled with it is found again.
ADAM = optax.adam(3e-3)


class GradientState(NamedTuple):
    """Both networks with their optimisers, as they were left."""

    inner: Any
    adjoint: Any


class Gradient(Solver):
    """h_ω and a_ω by a gradient method on the weights of two networks::

        θ ← θ + u(∇_θ J(h_θ)),   ψ ← ψ + u(∇_ψ J_adj(a_ψ))

    Each loop is one compiled program. From one ω to the next, weights and optimisers go on where
    they were. ``residual`` is ‖∇_θ J‖ in the weights, smoothed over batches. For NeuralFeatures φ
    is trained so and the last layer solved for exactly, for h and for a. A network that ends in a
    kbo.networks.LastLayer, for h or for a, has that layer solved for at every step.

    Parameters
    ----------
    steps : int
        Of the inner loop, per ω.
    adjoint_steps : int, optional
        Of the adjoint loop; None is ``steps``.
    optimizer : optax.GradientTransformation, optional
        None is optax.adam(3e-3); optax.lbfgs() suits whole samples and small networks.
    adjoint_optimizer : likewise
        None is ``optimizer``.
    batch_size : int, optional
        Rows of each sample per step, drawn with replacement; None is all.
    accumulate : int
        Batches whose gradients are averaged into one step, one at a time in memory.
    tol : float
        A loop stops early where ‖∇J‖ ≤ tol·(‖∇J‖ of the first step ever). With tol = 0 the number
        of steps is the plan and the status is TRUNCATED once they are done.
    seed : int or key data
        Of the first weights and of the batches.

    References
    ----------
    Petrulionyte, Mairal, Arbel (2024), Functional Bilevel Optimization, Algorithms 1–3.
    """

    steps: int = eqx.field(static=True, default=500)
    adjoint_steps: int | None = eqx.field(static=True, default=None)
    optimizer: optax.GradientTransformation | None = None
    adjoint_optimizer: optax.GradientTransformation | None = None
    batch_size: int | None = eqx.field(static=True, default=None)
    accumulate: int = eqx.field(static=True, default=1)
    tol: float = eqx.field(static=True, default=0.0)
    seed: Any = 0

    deterministic = False
    needs = Needs(spaces=(NeuralSpace, NeuralFeatures), remedy="use solver=kbo.solvers.Exact()")
    remedy = "lower the rate, or raise steps, of solver=kbo.solvers.Gradient(steps=…, optimizer=…)"

    def __check_init__(self):
        for name in ("steps", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r} must be at least 1")
        for name in ("adjoint_steps", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value!r} must be at least 1, or None")
        if self.accumulate > 1 and self.batch_size is None:
            raise ValueError(f"accumulate={self.accumulate} averages batches: give batch_size")
        if not self.tol >= 0:
            raise ValueError(f"tol={self.tol!r} must not be negative")

    def keyed(self, key):
        """With the first weights and the batches drawn from ``key``."""
        try:
            data = np.asarray(jax.random.key_data(key))
        except TypeError as error:
            raise TypeError(f"key={key!r} must be a PRNG key: jax.random.key(0)") from error
        if data.shape != (2,):  # of another generator than ours
            data = np.asarray(jax.random.bits(key, (2,), np.uint32))
        return eqx.tree_at(lambda s: s.seed, self, data)

    @property
    def key(self):
        """The PRNG key."""
        if isinstance(self.seed, int | np.integer):
            return jax.random.key(self.seed)
        return jax.random.wrap_key_data(
            jnp.asarray(self.seed, jnp.uint32), impl="threefry2x32"
        )

    def plan(self, adjoint=False) -> Plan:
        """What the loop of h is told, or with ``adjoint`` that of a."""
        optimizer = self.optimizer or ADAM
        steps = self.steps
        if adjoint:
            optimizer = self.adjoint_optimizer or optimizer
            steps = self.adjoint_steps or steps
        return Plan(optimizer, steps, self.tol, self.batch_size, self.accumulate)

    def solve(self, instance, state=None):
        """h_ω; see Solver.

        Raises
        ------
        ValueError
            If the ridge is negative, or a LastLayer meets a loss whose curvature varies or batches
            of few rows.
        """
        space = instance.space
        ridge = instance.ridge
        if not (np.isfinite(ridge).all() and (np.asarray(ridge) >= 0).all()):
            raise ValueError(f"ridge={ridge} must be finite and not negative")
        if isinstance(space, NeuralFeatures):
            return TrainedFeatures(instance, self, space, state)
        for network in (space.network, space.adjoint):
            if isinstance(network, LastLayer):
                self._check_layer(network, instance.problem.inner_loss)
        return GradientSolution(instance, self, state)

    def _check_layer(self, network, loss):
        if not loss.constant_curvature:
            raise ValueError(
                f"inner_loss={loss} with a LastLayer, which is solved for where the "
                "inner loss is Squared or SquaredTo: use a network such as MLP, or NeuralFeatures"
            )
        least = 2 * (network.n_features + 1)
        if self.batch_size is not None and self.batch_size < least:
            raise ValueError(
                f"batch_size={self.batch_size} is too small for a LastLayer of "
                f"{network.n_features} features, which would follow every batch's noise: give at "
                f"least {least}, or None"
            )


# Functions of the problem and the plans: one compilation serves every ω.


@of_instance
def _initial(instance, plans, key):
    p = instance.n_outputs
    inner, adjoint = instance.space.initial(
        key, instance.inner.x[0], p, instance.ridge.shape[0]
    )
    return GradientState(plans[0].start(inner.params), plans[1].start(adjoint.params))


@of_instance
def _fit_inner(instance, trained, plan, key):
    if not isinstance(instance.space.network, LastLayer):
        return train(training_objective(instance), instance, trained, plan, key)
    return _descend_below(SolvedInner(instance), trained, plan, key)


@of_instance
def _fit_adjoint(instance, h_inner, slopes, trained, plan, key):
    if not isinstance(instance.space.adjoint, LastLayer):
        objective = adjoint_objective(instance, h_inner, slopes)
        return train(objective, instance, trained, plan, key)
    return _descend_below(SolvedAdjoint(instance, slopes), trained, plan, key)


def _descend_below(objective, trained, plan, key):
    """The layer has no slope in an objective that is minimised over it; solved for at the end."""
    trained, report = train(objective, objective.instance, trained, plan, key)
    return trained._replace(params=objective.complete(trained.params)), report


@of_instance
def _values(instance, coefficients, shared):
    """On both samples."""
    inner = instance.space.evaluate(None, instance.inner.x, coefficients)
    if shared:
        return inner, inner
    return inner, instance.space.evaluate(None, instance.outer.x, coefficients)


class GradientSolution(InnerSolution):
    """An inner solution trained in the constructor."""

    certified = False  # the residual is one of weights: it says nothing about values of h
    jitter = 0.0
    gram = None

    def __init__(self, instance, solver, state):
        self.instance, self._solver = instance, solver
        plans = solver.plan(), solver.plan(adjoint=True)
        keys = jax.random.split(solver.key, 3)
        if not isinstance(state, GradientState):
            state = serial.like(_initial(instance, plans, keys[0]), state)
        self._plan, self._keys = plans[1], keys
        trained, report = _fit_inner(instance, state.inner, plans[0], keys[1])
        self.state = GradientState(trained, state.adjoint)
        self.status = judged(report, plans[0])
        self.residual = float(report.norm)
        self.coefficients = Prediction(trained.params)
        self.h_inner, self.h_outer = _values(instance, self.coefficients, instance.shared)

    def adjoint(self, slopes):
        """Train the network of the adjoint; see InnerSolution."""
        slopes = jnp.asarray(slopes, self.h_inner.dtype)
        trained, report = _fit_adjoint(
            self.instance, self.h_inner, slopes, self.state.adjoint, self._plan,
            self._keys[2],
        )
        self.state = GradientState(self.state.inner, trained)
        status = judged(report, self._plan, Status.ADJOINT_NOT_CONVERGED)
        coefficients = Adjoint(trained.params)
        values = _values(self.instance, coefficients, True)[0]
        return AdjointSolution(
            coefficients, coefficients, False, float(report.norm), status, values
        )
