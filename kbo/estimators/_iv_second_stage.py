"""The second stage: ridge regression of y on the embedding, E[h(X) | Z] = ⟨h, μ(Z)⟩."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..kernels import Kernel, OnFeatures
from ..losses import Squared
from ..problem import BilevelProblem, Sample
from ..spaces import FeatureSpace
from ._folds import bucket, pad
from ._iv_first_stage import width
from ._model import Tunable, TunedAlpha, TunedRidge

NUGGET = 1e-8
PRIOR_MODE = 0.4  # of log(lengthscale/start): one and a half times √d standard deviations


class TreatmentKernel(Kernel):
    """k(x, z) = k_E(x_E, z_E)·k_O(x_O, z_O): endogenous columns E, exogenous columns O.

    What is known of a product is used: E[k(x, X) | z] = E[k_E(x_E, X_E) | z]·k_O(x_O, o), where
    o are the exogenous columns of z.
    """

    endogenous: OnFeatures | None
    exogenous: OnFeatures | None

    def evaluate(self, x, z):
        parts = [part for part in (self.endogenous, self.exogenous) if part is not None]
        value = parts[0].evaluate(x, z)
        return value * parts[1].evaluate(x, z) if parts[1:] else value

    def matrix(self, x, z):
        parts = [part for part in (self.endogenous, self.exogenous) if part is not None]
        value = parts[0].matrix(x, z)
        return value * parts[1].matrix(x, z) if parts[1:] else value


class EmbeddingSpace(eqx.Module):
    """ω ↦ the features of μ at the kernel of ω.

    Parameters
    ----------
    kernel : Tunable
        Of a TreatmentKernel.
    centers : array (M, d)
        C; where ``valid`` (M,) is zero they are padding, whose features are zero.
    X : array (n, d)
    maps : array (S, n) or None
        B; None where no column is endogenous.
    """

    kernel: Tunable
    centers: Any
    valid: Any
    X: Any
    maps: Any

    def __call__(self, omega):
        return FeatureSpace(Embedding(self, omega))

    def root(self, kernel):
        """L (M, M); the identity on padding, up to a factor."""
        matrix = kernel.matrix(self.centers, self.centers) * jnp.outer(self.valid, self.valid)
        level = jnp.trace(matrix) / jnp.sum(self.valid)
        return jnp.linalg.cholesky(matrix + jnp.diag(NUGGET * level + level * (1 - self.valid)))


class Embedding(eqx.Module):
    """(s, x) ↦ L⁻¹[(sᵀ B k_E(X, C)) ∘ k_O(x, C)], LLᵀ = k(C, C) + δI: the features of μ(z).

    Nothing but the last three products depends on the point: under ``vmap`` the rest is done once.
    """

    space: EmbeddingSpace
    omega: Any

    def __call__(self, point):
        space, kernel = self.space, self.space.kernel.at(self.omega["kernel"])
        d = space.centers.shape[1]
        value = space.valid
        if space.maps is not None:
            means = space.maps @ kernel.endogenous.matrix(space.X, space.centers)
            value = value * (point[:-d] @ means)
        if kernel.exogenous is not None:
            value = value * kernel.exogenous.matrix(point[None, -d:], space.centers)[0]
        return jax.scipy.linalg.solve_triangular(space.root(kernel), value, lower=True)


@eqx.filter_jit
def feature_root(problem, omega):
    """L of a second-stage problem."""
    space = problem.space
    return space.root(space.kernel.at(omega["kernel"]))


class Posterior(eqx.Module):
    """ℓ(ω, v, y) = ½ c(ω) y (y − v),  c(ω) = det(I + RᵀWR/alpha)^{1/Σw} e^{‖log ℓ − m‖²/Σw}.

    R holds the features of the embeddings. At the ridge regression h, Σ w y (y − h) is
    yᵀ(W⁻¹ + RRᵀ/alpha)⁻¹y, so that the logarithm of the mean loss is −2/Σw times the log posterior
    density of (alpha, ℓ), but for a constant: the marginal likelihood of y ~ N(0, s(RRᵀ/alpha +
    W⁻¹)) with the likeliest s, times the prior log ℓ ~ N(m, 1) of each lengthscale.

    The prior matters where samples are few. With lengthscales that tend to nothing the embeddings
    can fit any function of Z, and a likelihood that is indifferent to h between the samples does
    not forbid it.

    Parameters
    ----------
    space : EmbeddingSpace
    sample : Sample
    alpha : TunedAlpha
    """

    space: EmbeddingSpace
    sample: Sample
    alpha: TunedAlpha

    def __call__(self, omega, prediction, target):
        features = self.space(omega).features(self.sample.x)
        weight = self.sample.weight_matrix()[0]
        moment = features.T @ (weight[:, None] * features) / self.alpha(omega)
        root = jnp.linalg.cholesky(moment + jnp.eye(len(moment)))
        exponent = 2 * jnp.sum(jnp.log(jnp.diagonal(root)))
        exponent += sum(jnp.sum((log - PRIOR_MODE) ** 2) for log in omega["kernel"])
        return 0.5 * jnp.exp(exponent / jnp.sum(weight)) * target * (target - prediction)


def second_stage_problem(kernel, X, y, centers, smoother, train, test=None):
    """Ridge regression of y on μ(z), judged by folds or, without ``test``, by its posterior.

        h_f = argmin_h Σ_i w_i ½(⟨h, μ(z_i)⟩ − y_i)² + (alpha/2)‖h‖²    tuned: alpha and k

    Parameters
    ----------
    kernel : Tunable
        Of a TreatmentKernel, at ω = 0; alpha is 1 there.
    X : ndarray (n, d)
    y : ndarray (n,)
        Centred.
    centers : ndarray (M, d)
        Distinct rows of X.
    smoother : Smoother or None
        None where no column of X is endogenous.
    train, test : ndarray (F, n)
        With ``test=None`` F is 1.
    """
    size = bucket(len(X))
    extra = ((0, 0), (0, size - len(X)))
    train = np.pad(train, extra)
    points, maps = X, None
    if smoother is not None:
        points, maps = np.concatenate([smoother.points, X], 1), np.pad(smoother.maps, extra)
    M = width(len(centers))
    space = EmbeddingSpace(
        kernel, pad(centers, M), (np.arange(M) < len(centers)).astype(float), pad(X, size), maps
    )
    alpha = TunedAlpha(np.ones(()))
    sample = Sample(pad(points, size), pad(y, size), train)
    judge, loss = sample, Posterior(space, sample, alpha)
    if test is not None:
        judge, loss = Sample(sample.x, sample.target, np.pad(test, extra)), Squared()
    return BilevelProblem(
        inner_loss=Squared(), outer_loss=loss, inner_data=sample, outer_data=judge,
        space=space, ridge=TunedRidge(alpha, train.sum(1)),
    )
