"""Deep feature instrumental-variable regression (DFIV), by differentiating closed forms."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from ...arithmetic import arithmetic
from ...losses import Readout
from ...module import Module
from ...networks import initial_weights
from ...programs import program
from .networks import BODY_FEATURES, NeuralIVBase


class DeepFeatureIV(NeuralIVBase):
    """h(x) = u·Ψ(x) + b by two-stage least squares on features learned by two networks (DFIV)::

        first stage   min_φ min_V  E₁ ½‖Ψ(x) − V[φ(z), 1]‖² + (first_ridge/2)‖V‖²
        second stage  min_Ψ min_u  E₂ ½(y − u·V(Ψ)[φ(z), 1] − b)² + (second_ridge/2)‖u‖²

    The two stages are minimised in turn. V(Ψ) and u have closed forms, through which the second
    stage is differentiated automatically. All computations are in single precision.

    Parameters
    ----------
    n_features : int
        The dimension of Ψ.
    treatment_network, instrument_network : kbo.networks.Network, default MLP((64, 64))
        Ψ before its tanh, and φ.
    first_ridge, second_ridge : float
    max_iter : int
        Number of steps of Ψ.
    inner_iter : int
        Number of steps of φ per step of Ψ.
    learning_rate, weight_decay : float
        Settings of AdamW, for both networks.
    standardize : bool
        Whether the columns of X are centred and scaled to variance 1, as y and Z always are. Use
        False for columns of one unit, such as pixels, some of which may be pure noise.
    random_state : int, RandomState or None
        Draws the halves and the initial weights.

    Attributes
    ----------
    readout_ : ndarray (n_features,)
        u.
    first_stage_strength_ : float
        The share of the variance of Ψ(x) that V[φ(z), 1] explains on the second half.
    n_iter_ : int
        Number of steps of Ψ taken.
    n_features_in_, n_instruments_in_ : int

    Notes
    -----
    There is no confidence band: no theory covers features that were learned from the same data.

    References
    ----------
    Xu, Chen, Srinivasan, de Freitas, Doucet, Gretton (2021), Learning Deep Features in
    Instrumental Variable Regression, Algorithm 1, in which b is penalised as well.
    """

    def __init__(
        self, *, n_features=16, treatment_network=None, instrument_network=None,
        first_ridge=1e-2, second_ridge=1e-2, max_iter=200, inner_iter=20, learning_rate=3e-3,
        weight_decay=1e-3, standardize=True, random_state=None,
    ):
        self.n_features = n_features
        self.treatment_network = treatment_network
        self.instrument_network = instrument_network
        self.first_ridge = first_ridge
        self.second_ridge = second_ridge
        self.max_iter = max_iter
        self.inner_iter = inner_iter
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.standardize = standardize
        self.random_state = random_state

    @arithmetic(double=False)
    def fit(self, X, y, Z=None, sample_weight=None):
        """Fit to treatments X (n, d), outcomes y (n,) and instruments Z (n, q).

        Parameters
        ----------
        X : array-like (n, d)
            Treatment and exogenous covariates.
        y : array-like (n,)
        Z : array-like (n, q), optional
            Instruments, and the exogenous columns of X again. None: all of X is exogenous.
        sample_weight : array-like (n,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an argument is not finite or has the wrong shape, Z contains no instrument, fewer
            than four samples have weight, or the fit diverges.
        """
        stages, seed = self._prepare(X, y, Z, sample_weight)
        features, params = self._start(stages[0], seed)
        network = self._networks()[1]
        key = jax.random.fold_in(jax.random.key(seed), 1)
        body = initial_weights(network, key, stages[0].z[0], BODY_FEATURES, 1)
        body = jax.tree.map(lambda leaf: leaf[0], body)
        stages_of = TwoStages(features, network, float(self.first_ridge), float(self.second_ridge))
        params, body = _train(
            stages_of, params, body, stages, self._optimizer(), self.max_iter, self.inner_iter
        )
        first, second = stages
        predicted = _predicted(stages_of, params, body, first, second.z)
        return self._finish(features, params, second, predicted)


class TwoStages(Module):
    """The objectives of the two stages."""

    features: eqx.Module
    network: eqx.Module
    first_ridge: float = eqx.field(static=True)
    second_ridge: float = eqx.field(static=True)

    def instruments(self, body, z):
        """[φ(z), 1], (n, r)."""
        phi = jax.vmap(self.network.apply, (None, 0))(body, z)
        return jnp.column_stack([phi, jnp.ones(len(z), z.dtype)])

    def layer(self, phi, targets, stage):
        """V, (r, q): the ridge regression of targets (n, q) on φ (n, r), in closed form."""
        share = stage.weight / jnp.sum(stage.weight)
        gram = phi.T @ (share[:, None] * phi) + self.first_ridge * jnp.eye(phi.shape[1])
        return jax.scipy.linalg.solve(gram, phi.T @ (share[:, None] * targets), assume_a="pos")

    def first(self, body, targets, stage):
        """The objective of the first stage at the body's weights, minimised over V."""
        phi = self.instruments(body, stage.z)
        V = self.layer(phi, targets, stage)
        share = stage.weight / jnp.sum(stage.weight)
        errors = jnp.sum((targets - phi @ V) ** 2, 1)
        return 0.5 * share @ errors + 0.5 * self.first_ridge * jnp.sum(V**2)

    def second(self, params, body, stages):
        """The objective of the second stage at Ψ's weights, minimised over u and b."""
        targets = self.features.rows(params, stages[0].x)
        V = self.layer(self.instruments(body, stages[0].z), targets, stages[0])
        predicted = self.instruments(body, stages[1].z) @ V
        return Readout(self.second_ridge)(None, predicted, stages[1].y, stages[1].weight)


@program
def _train(two, params, body, stages, optimizer, steps, inner_steps):
    """The weights of both networks after ``steps`` alternations of the two stages."""

    def alternate(carry, _):
        params, body, outer_state, inner_state = carry
        targets = two.features.rows(params, stages[0].x)

        def descend(carry, _):
            body, state = carry
            grad = jax.grad(two.first)(body, targets, stages[0])
            update, state = optimizer.update(grad, state, body)
            return (optax.apply_updates(body, update), state), None

        body, inner_state = jax.lax.scan(descend, (body, inner_state), length=inner_steps)[0]
        grad = jax.grad(two.second)(params, body, stages)
        update, outer_state = optimizer.update(grad, outer_state, params)
        return (optax.apply_updates(params, update), body, outer_state, inner_state), None

    start = (params, body, optimizer.init(params), optimizer.init(body))
    params, body, _, _ = jax.lax.scan(alternate, start, length=steps)[0]
    return params, body


@program
def _predicted(two, params, body, first, z):
    """The first stage's prediction of Ψ at ``z``."""
    targets = two.features.rows(params, first.x)
    return two.instruments(body, z) @ two.layer(two.instruments(body, first.z), targets, first)
