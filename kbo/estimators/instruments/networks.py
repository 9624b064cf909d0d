"""Base class of the instrumental-variable estimators with learned treatment features."""

from __future__ import annotations

import functools
from numbers import Integral, Real
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from ...arithmetic import arithmetic
from ...losses import Readout
from ...module import Module
from ...networks import MLP, Network, initial_weights
from ...programs import program
from ...status import warn_explained
from .._common.shown import ShownFit
from .data import Standard, check_iv_data, exogenous_columns
from .strength import WEAK_R2, WeakInstrumentWarning

BODY_FEATURES = 32  # number of features of the instrument network below its last layer
BLOCK = 8192  # a network is applied to at most this many rows at once


@functools.cache  # equal settings give the same object, so that compiled programs are reused
def _adamw(rate, decay, l2):
    adamw = optax.adamw(rate, weight_decay=decay)
    return optax.chain(optax.add_decayed_weights(l2), adamw) if l2 else adamw


class StageData(NamedTuple):
    """The samples of one stage (one half of the data), standardised, in single precision."""

    x: jax.Array
    y: jax.Array
    z: jax.Array
    weight: jax.Array


class TreatmentFeatures(Module):
    """Ψ_ω(x) = tanh(network(x)), (q,): bounded, so that the second stage is well scaled."""

    network: Network

    def __call__(self, params, x):
        """Ψ_ω(x), (q,), at one point x (d,)."""
        return jnp.tanh(self.network.apply(params, x))

    def rows(self, params, x):
        """Ψ_ω at each of the points x (n, d), (n, q)."""
        return jax.lax.map(lambda point: self(params, point), x, batch_size=min(BLOCK, len(x)))


@program
def _readout_of(features, params, slopes, x):
    return features.rows(params, x) @ slopes


@program
def _mean_derivative(features, params, slopes, x):
    gradient = jax.grad(lambda point: features(params, point) @ slopes)
    return jnp.mean(jax.lax.map(gradient, x, batch_size=min(BLOCK, len(x))), 0)


class NeuralIVBase(RegressorMixin, ShownFit, BaseEstimator):
    """h(x) = u·Ψ(x) + b with one half of the data for each stage; subclasses train Ψ."""

    __metadata_request__fit: ClassVar = {"Z": True}

    _parameter_constraints: ClassVar[dict] = {
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "treatment_network": [Network, None],
        "instrument_network": [Network, None],
        "first_ridge": [Interval(Real, 0, None, closed="neither")],
        "second_ridge": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "inner_iter": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "standardize": ["boolean"],
        "random_state": ["random_state"],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # networks on halves of a few hundred samples
        return tags

    def _networks(self):
        default = MLP((64, 64))
        return self.treatment_network or default, self.instrument_network or default

    def _optimizer(self, l2=0.0):
        return _adamw(float(self.learning_rate), float(self.weight_decay), float(l2))

    def _prepare(self, X, y, Z, sample_weight):
        """Check the arguments of ``fit``; the samples of both stages, and a seed for weights."""
        self._validate_params()
        X, y, Z, weight = check_iv_data(self, X, y, Z, sample_weight)
        self._exogenous = exogenous_columns(X, Z, weight)
        Z = X if Z is None else Z
        self.n_instruments_in_ = Z.shape[1]
        kept = np.flatnonzero(weight > 0)
        if len(kept) < 4:
            raise ValueError(
                f"n_samples={len(kept)} with weight are too few for two stages: give at least 4"
            )
        self._units = [Standard.of(values[kept], weight[kept]) for values in (X, y, Z)]
        if not self.standardize:
            self._units[0] = Standard(np.zeros(X.shape[1]), np.ones(X.shape[1]))
        random = check_random_state(self.random_state)
        order = random.permutation(kept)
        halves = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
        x, target, z = (u(v) for u, v in zip(self._units, (X, y, Z), strict=True))
        single = lambda values: jnp.asarray(values, jnp.float32)  # noqa: E731
        stages = [StageData(*(single(v[rows]) for v in (x, target, z, weight))) for rows in halves]
        return stages, int(random.randint(2**31 - 1))

    def _start(self, stage, seed):
        """Ψ and its initial weights."""
        features = TreatmentFeatures(self._networks()[0])
        params = initial_weights(
            features.network, jax.random.key(seed), stage.x[0], self.n_features, 1
        )
        return features, jax.tree.map(lambda leaf: leaf[0], params)

    def _finish(self, features, params, second, predicted):
        """Fit the readout to the first stage's predictions (m, q) on the second half; store all."""
        fitted = Readout(self.second_ridge).fit(None, predicted, second.y, second.weight)
        self._features, self._params = features, jax.tree.map(np.asarray, params)
        self.n_iter_ = self.max_iter
        self.readout_, self._intercept = np.asarray(fitted[0], float), float(fitted[1])
        if not (np.isfinite(self.readout_).all() and np.isfinite(self._intercept)):
            raise ValueError(
                f"the fit diverged: lower learning_rate={self.learning_rate} or raise "
                f"second_ridge={self.second_ridge}"
            )
        truth = features.rows(params, second.x)
        share = second.weight / jnp.sum(second.weight)
        spread = jnp.sum(share @ (truth - share @ truth) ** 2)
        missed = jnp.sum(share @ (truth - predicted) ** 2)
        self.first_stage_strength_ = float(1 - missed / spread)
        if not self._exogenous.all() and self.first_stage_strength_ < WEAK_R2:
            warn_explained(
                f"the instruments explain a share of {self.first_stage_strength_:.3f} of the "
                f"treatment's features out of sample, less than {WEAK_R2}: the estimate is not "
                "to be trusted; give stronger instruments or more samples",
                WeakInstrumentWarning, stacklevel=4,  # past the decorator of fit
            )
        return self

    def _treatment(self, X):
        """The readout u, and X in the network's units, as single-precision arrays."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return jnp.asarray(self.readout_, jnp.float32), jnp.asarray(self._units[0](X), jnp.float32)

    @arithmetic(double=False)
    def predict(self, X):
        """h(x) = ȳ + s_y (Ψ(x)·u + b), (n,), for mean ȳ and standard deviation s_y of y.

        Parameters
        ----------
        X : array-like (n, d)
        """
        slopes, x = self._treatment(X)
        values = np.array(_readout_of(self._features, self._params, slopes, x), float)
        return self._units[1].mean + self._units[1].scale * (values + self._intercept)

    @arithmetic(double=False)
    def average_derivative(self, X):
        """(1/n) Σ_i ∂h/∂x(x_i), (d,): the mean effect of a small change of each column.

        Parameters
        ----------
        X : array-like (n, d)
        """
        slopes, x = self._treatment(X)
        mean = np.array(_mean_derivative(self._features, self._params, slopes, x), float)
        return mean * self._units[1].scale / self._units[0].scale
