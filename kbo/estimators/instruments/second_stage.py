"""The second stage: the h whose errors y − h(X) the first stage finds nothing in."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...instance import of_instance
from ...kernels import Kernel, OnFeatures
from ...losses import Squared
from ...problem import BilevelProblem, Sample
from ...spaces import FeatureSpace
from .._common.folds import bucket, pad
from ..kernel.model import Tunable, TunedAlpha, TunedRidge
from .first_stage import width

NUGGET = 1e-8
PRIOR_MODE = 0.4  # of log(lengthscale/start): one and a half times √d standard deviations


class TreatmentKernel(Kernel):
    """k(x, z) = k_E(x_E, z_E)·k_O(x_O, z_O): endogenous columns E, exogenous columns O."""

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


@of_instance
def feature_root(instance):
    """L of a second-stage problem."""
    space = instance.problem.space
    return space.root(space.kernel.at(instance.omega["kernel"]))


class Posterior(eqx.Module):
    """ℓ(ω, v, y) = ½ c(ω) y (y − v),  c(ω) = det(I + RᵀWR/alpha)^{1/n} e^{‖log ℓ − m‖²/n}·Σw/n.

    R holds the features of the second stage. At the ridge regression h, Σ w y (y − h) is
    yᵀ(W⁻¹ + RRᵀ/alpha)⁻¹y, so that the logarithm of the mean loss is −2/n times the log posterior
    density of (alpha, ℓ), but for a constant: the marginal likelihood of y ~ N(0, s(RRᵀ/alpha +
    W⁻¹)) with the likeliest s, times the prior log ℓ ~ N(m, 1) of each lengthscale.

    The prior matters where samples are few. With lengthscales that tend to nothing h can fit
    anything that is seen of y, and a likelihood that is indifferent to h between the samples does
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


class Seen(NamedTuple):
    """What the second stage sees of h: rows of T in ‖T(y − h(X))‖², and which count.

    Attributes
    ----------
    points : ndarray (R, n) or (n, d)
        T; or, where no column is endogenous and T is diagonal, the samples of X.
    target : ndarray (R,)
        Ty, or y.
    train : ndarray (F, R)
    test : ndarray (F, R) or None
        None where h is judged by its posterior.
    """

    points: np.ndarray
    target: np.ndarray
    train: np.ndarray
    test: np.ndarray | None = None


def seen_whole(rows, y, weight) -> Seen:
    """T, and the rest of y in its last row, which is zero: ‖target‖² = Σ w y²."""
    target = rows @ y
    target[-1] = np.sqrt(max(weight @ y**2 - target @ target, 0.0))
    return Seen(rows, target, np.ones((1, len(target))))


def seen_in_folds(train, test, y) -> Seen:
    """T of each fold's training samples, and of its test samples, whose weights sum to one.

    Parameters
    ----------
    train, test : list of F ndarray (S_f, n)
    """
    every = train + test
    sizes = [len(rows) for rows in every]
    member = np.repeat(np.arange(len(every)), sizes)
    chosen = (member == np.arange(len(every))[:, None]).astype(float)
    judged = chosen[len(train) :] / chosen[len(train) :].sum(1, keepdims=True)
    rows = np.concatenate(every)
    # A mean over the rows of a test form is then that form.
    rows *= np.where(member < len(train), 1.0, np.sqrt(np.repeat(sizes, sizes)))[:, None]
    return Seen(rows, rows @ y, chosen[: len(train)], judged)


def second_stage_problem(kernel, centers, count, seen, X=None):
    """What h should be, judged by its posterior or by folds.

        h = argmin_h ½ ‖T(y − h(X))‖² + (alpha/2)‖h‖²    tuned: alpha and k

    Parameters
    ----------
    kernel : Tunable
        Of a TreatmentKernel, at ω = 0; alpha is 1 there.
    centers : ndarray (M, d)
        Distinct rows of X.
    count : float
        Σw = n.
    seen : Seen
    X : ndarray (n, d)
        Of which the columns of T are; None where ``seen.points`` are the samples themselves.
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
