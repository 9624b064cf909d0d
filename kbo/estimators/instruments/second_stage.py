"""The second stage: fit h such that the first stage predicts zero for the errors y − h(X)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...instance import of_instance
from ...kernels import Kernel, OnFeatures
from ...losses import Squared
from ...module import Module
from ...parameters import Tunable
from ...problem import BilevelProblem, Sample
from ...spaces import FeatureSpace
from .._common.folds import bucket, pad
from ..kernel.model import TunedAlpha, TunedRidge
from .first_stage import width

NUGGET = 1e-8  # added to the diagonal, relative to its mean
PRIOR_MODE = 0.4  # prior mean of log(lengthscale/start), log 1.5; the start is √d deviations


class TreatmentKernel(Kernel):
    """k(x, z) = k_E(x_E, z_E)·k_O(x_O, z_O), with endogenous columns E and exogenous columns O.

    A factor without columns is None.
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


class EmbeddingSpace(Module):
    """ω ↦ the feature space of h for the kernel at ω.

    Parameters
    ----------
    kernel : Tunable
        A tunable TreatmentKernel.
    centers : array (M, d)
        C, the points whose kernel functions span h.
    valid : array (M,)
        1 for a centre, 0 for padding, whose features are zero.
    X : array (n, d) or None
        With None, a sample of the problem is a point x, and its value is h(x). Otherwise a sample
        is a row t (n,), and its value is Σ_i t_i h(X_i).
    """

    kernel: Tunable
    centers: Any
    valid: Any
    X: Any

    def __call__(self, omega):
        return FeatureSpace(Embedding(self, omega))

    def root(self, kernel):
        """L (M, M) with LLᵀ = k(C, C) + δI; on padding, a multiple of the identity."""
        matrix = kernel.matrix(self.centers, self.centers) * jnp.outer(self.valid, self.valid)
        level = jnp.trace(matrix) / jnp.sum(self.valid)
        return jnp.linalg.cholesky(matrix + jnp.diag(NUGGET * level + level * (1 - self.valid)))


class Embedding(Module):
    """t ↦ L⁻¹ k(C, X)t, or x ↦ L⁻¹ k(C, x), where LLᵀ = k(C, C) + δI.

    For rows t only the last product and the triangular solve depend on the argument: under
    ``vmap`` the rest is computed once.
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


@of_instance
def feature_root(instance):
    """L (M, M) of a second-stage problem at its ω: the features are L⁻¹ k(C, ·)."""
    space = instance.problem.space
    return space.root(space.kernel.at(instance.omega["kernel"]))


class Posterior(Module):
    """ℓ(ω, v, y) = ½ c(ω) y (y − v),  c(ω) = det(I + RᵀWR/alpha)^{1/n} e^{‖log ℓ − m‖²/n}·Σw/n.

    The rows of R are the features of the second stage, and ℓ in ‖log ℓ − m‖ are the lengthscales.
    At the ridge regression h, Σ w y (y − h) = yᵀ(W⁻¹ + RRᵀ/alpha)⁻¹y, so that the logarithm of the
    mean loss is, up to a constant, −2/n times the log posterior density of (alpha, ℓ): the
    marginal likelihood of y ~ N(0, s(RRᵀ/alpha + W⁻¹)), maximised over s, times the prior
    log ℓ ~ N(m, 1) of each lengthscale.

    The prior matters if samples are few. As lengthscales tend to zero, h can fit everything that
    is observed of y, and the likelihood alone does not prevent that, because it does not depend on
    h between the samples.

    Parameters
    ----------
    space : EmbeddingSpace
    sample : Sample
    alpha : TunedAlpha
    count : array ()
        n, the number of samples behind the quadratic form Σ w y (y − h).
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


class Seen(NamedTuple):
    """The data of the second stage: the rows of T in ‖T(y − h(X))‖², and their weights.

    Attributes
    ----------
    points : ndarray (R, n) or (n, d)
        T; or the samples of X, if no column is endogenous and T is diagonal.
    target : ndarray (R,)
        Ty, or y.
    train : ndarray (F, R)
        Weights of the rows in the fit of each fold.
    test : ndarray (F, R) or None
        Weights of the rows in the outer loss; None if the criterion is the posterior density.
    """

    points: np.ndarray
    target: np.ndarray
    train: np.ndarray
    test: np.ndarray | None = None


def seen_whole(rows, y, weight) -> Seen:
    """The data for the marginal likelihood: T, and Ty completed so that ‖target‖² = Σ w y².

    The last row of T is zero; its entry of the target takes up the part of y outside T.
    """
    target = rows @ y
    target[-1] = np.sqrt(max(weight @ y**2 - target @ target, 0.0))
    return Seen(rows, target, np.ones((1, len(target))))


def seen_in_folds(train, test, y) -> Seen:
    """The data for cross-validation: the rows of T for each fold's training and test samples.

    Parameters
    ----------
    train, test : list of F ndarray (R_f, n)
        T for the training and for the test samples of each fold.
    """
    every = train + test
    sizes = [len(rows) for rows in every]
    member = np.repeat(np.arange(len(every)), sizes)
    chosen = (member == np.arange(len(every))[:, None]).astype(float)
    judged = chosen[len(train) :] / chosen[len(train) :].sum(1, keepdims=True)
    rows = np.concatenate(every)
    # The outer loss is a mean over a fold's test rows: scaled by √R_f, it becomes the sum ‖T e‖².
    rows *= np.where(member < len(train), 1.0, np.sqrt(np.repeat(sizes, sizes)))[:, None]
    return Seen(rows, rows @ y, chosen[: len(train)], judged)


def second_stage_problem(kernel, centers, count, seen, X=None):
    """The bilevel problem of the second stage, judged by the posterior density or by folds.

        h = argmin_h ½ ‖T(y − h(X))‖² + (alpha/2)‖h‖²    tuned: alpha and k

    Parameters
    ----------
    kernel : Tunable
        A tunable TreatmentKernel, at ω = 0, where alpha is 1.
    centers : ndarray (M, d)
        Distinct rows of X.
    count : float
        Σw = n.
    seen : Seen
    X : ndarray (n, d)
        The samples that the columns of T belong to; None if ``seen.points`` are the samples.
    """
    points, target, (train, test) = seen.points, seen.target, seen[2:]
    if X is None:
        size = bucket(len(points))
        extra = ((0, 0), (0, size - len(points)))
        points, target, train = pad(points, size), pad(target, size), np.pad(train, extra)
        test = None if test is None else np.pad(test, extra)
    else:
        points = np.pad(points, ((0, 0), (0, bucket(len(X)) - len(X))))
        X = pad(X, bucket(len(X)))
    M = width(len(centers))
    space = EmbeddingSpace(
        kernel, pad(centers, M), (np.arange(M) < len(centers)).astype(float), X
    )
    alpha = TunedAlpha(np.ones(()))
    sample = Sample(points, target, train)
    judge, loss = sample, Posterior(space, sample, alpha, np.float64(count))
    if test is not None:
        judge, loss = Sample(points, target, test), Squared()
    return BilevelProblem(
        inner_loss=Squared(), outer_loss=loss, inner_data=sample, outer_data=judge,
        space=space, ridge=TunedRidge(alpha, train.sum(1)),
    )
