"""The bilevel problem of sample reweighting: a weight per sample, judged on trusted samples."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ... import losses
from ...module import Module
from ...problem import BilevelProblem, Sample
from ...spaces import RKHS
from .._common.folds import bucket, pad


class WeightedSample(Module):
    """ω ↦ the Sample with weights wᵢσ(ωᵢ)."""

    x: Any
    target: Any
    weight: Any

    def __call__(self, omega):
        return Sample(self.x, self.target, self.weight * jax.nn.sigmoid(omega))


class RidgeOfWeights(Module):
    """ω ↦ alpha/Σᵢ wᵢσ(ωᵢ): the ridge relative to a sum of losses is alpha for every ω."""

    alpha: Any
    weight: Any

    def __call__(self, omega):
        return self.alpha / jnp.sum(self.weight * jax.nn.sigmoid(omega))


class MeanSquare(Module):
    """ω ↦ size·Σᵢ wᵢωᵢ²/Σᵢ wᵢ."""

    size: Any
    weight: Any

    def __call__(self, omega):
        return self.size * jnp.average(omega**2, weights=self.weight)


def weighting_problem(kernel, alpha, penalty, doubtful, trusted):
    """Inner problem: weighted kernel ridge on the doubtful samples; outer: error on the trusted.

    Parameters
    ----------
    kernel : Kernel
    alpha, penalty : float
    doubtful, trusted : tuple (X, targets, weight)
        Targets have shape (n,) in both, or (n, p) in both.

    Returns
    -------
    problem : BilevelProblem
    start : ndarray
        ω = 0, where every weight is halved. Its length is the padded number of doubtful samples;
        padding has weight zero.
    """
    sides = []
    for X, target, weight in (doubtful, trusted):
        size = bucket(len(X))
        sides.append((pad(X, size), pad(target, size), np.pad(weight, (0, size - len(X)))))
    target, weight = sides[0][1:]
    problem = BilevelProblem(
        losses.Squared(), losses.Squared(), WeightedSample(*sides[0]), Sample(*sides[1]),
        RKHS(kernel), RidgeOfWeights(np.float64(alpha), weight),
        penalty=MeanSquare(np.float64(penalty), weight),
        n_outputs=None if target.ndim == 1 else target.shape[1],
    )
    return problem, np.zeros(len(weight))
