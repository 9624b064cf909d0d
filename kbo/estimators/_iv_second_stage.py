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
    """ω ↦ the features of what is seen of h, at the kernel of ω.

    Parameters
    ----------
    kernel : Tunable
        Of a TreatmentKernel.
    centers : array (M, d)
        C; where ``valid`` (M,) is zero they are padding, whose features are zero.
    X : array (n, d) or None
        None where h is seen at points x itself, else Σ_i t_i h(X_i) for rows t (n,).
    """

    kernel: Tunable
    centers: Any
    valid: Any
    X: Any

    def __call__(self, omega):
        return FeatureSpace(Embedding(self, omega))

    def root(self, kernel):
        """L (M, M); the identity on padding, up to a factor."""
        matrix = kernel.matrix(self.centers, self.centers) * jnp.outer(self.valid, self.valid)
        level = jnp.trace(matrix) / jnp.sum(self.valid)
        return jnp.linalg.cholesky(matrix + jnp.diag(NUGGET * level + level * (1 - self.valid)))


class Embedding(eqx.Module):
    """t ↦ L⁻¹ k(C, X)t, or x ↦ L⁻¹ k(C, x), LLᵀ = k(C, C) + δI.

    Nothing but the last two products depends on the point: under ``vmap`` the rest is done once.
    """

    space: EmbeddingSpace
    omega: Any

    def __call__(self, point):
        space, kernel = self.space, self.space.kernel.at(self.omega["kernel"])
        if space.X is None:
            value = kernel.matrix(point[None], space.centers)[0]
        else:
            value = point @ kernel.matrix(space.X, space.centers)
        root = space.root(kernel)
        return jax.scipy.linalg.solve_triangular(root, space.valid * value, lower=True)


@eqx.filter_jit
def feature_root(problem, omega):
    """L of a second-stage problem."""
    space = problem.space
    return space.root(space.kernel.at(omega["kernel"]))


class Posterior(eqx.Module):
    """ℓ(ω, v, y) = ½ c(ω) y (y − v),  c(ω) = det(I + RᵀWR/alpha)^{1/n} e^{‖log ℓ − m‖²/n}·Σw/n.

    R holds the features of the second stage. At the ridge regression h, Σ w y (y − h) is
    yᵀ(W⁻¹ + RRᵀ/alpha)⁻¹y, so that the logarithm of the mean loss is −2/n times the log posterior
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
    count : array ()
        n, how many samples the quadratic form Σ w y (y − h) is of.
    """

    space: EmbeddingSpace
    sample: Sample
    alpha: TunedAlpha
    count: Any

    def __call__(self, omega, prediction, target):
        features = self.space(omega).features(self.sample.x)
        weight = self.sample.weight_matrix()[0]
        moment = features.T @ (weight[:, None] * features) / self.alpha(omega)
        root = jnp.linalg.cholesky(moment + jnp.eye(len(moment)))
        exponent = 2 * jnp.sum(jnp.log(jnp.diagonal(root)))
        exponent += sum(jnp.sum((log - PRIOR_MODE) ** 2) for log in omega["kernel"])
        factor = jnp.exp(exponent / self.count) * jnp.sum(weight) / self.count
        return 0.5 * factor * target * (target - prediction)


def second_stage_problem(kernel, X, y, centers, smoother, weight):
    """What h should be, judged by its posterior.

        h = argmin_h ½ (y − h(X))ᵀ WS (y − h(X)) + (alpha/2)‖h‖²    tuned: alpha and k

    S is the first stage, and the identity where no column is endogenous. The rest of y, which Z
    says nothing of, has a row of its own in which h is zero: Σ w y² is the whole.

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
    weight : ndarray (n,)
    """
    size, M = bucket(len(X)), width(len(centers))
    padded = np.pad(weight, (0, size - len(X)))
    if smoother is None:
        sample = Sample(pad(X, size), pad(y, size), padded[None])
    else:
        target = smoother.rows @ y
        target[-1] = np.sqrt(max(weight @ y**2 - target @ target, 0.0))
        rows = np.pad(smoother.rows, ((0, 0), (0, size - len(X))))
        sample = Sample(rows, target, np.ones((1, len(target))))
    space = EmbeddingSpace(
        kernel, pad(centers, M), (np.arange(M) < len(centers)).astype(float),
        None if smoother is None else pad(X, size),
    )
    alpha = TunedAlpha(np.ones(()))
    return BilevelProblem(
        inner_loss=Squared(), outer_loss=Posterior(space, sample, alpha, weight.sum()),
        inner_data=sample, outer_data=sample,
        space=space, ridge=TunedRidge(alpha, sample.weights.sum(1)),
    )
