"""The prior of a kernel's tuned numbers."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ...module import Module

LONGER = 1.0  # mean of the mean log lengthscale, over its start √d times the spread
WIDE = 3.0  # standard deviation of the logarithm of a part's scale
BENT = 0.5  # standard deviation of the logarithm of a feature's skew


class KernelPrior(Module):
    """The negative logarithm of a prior that is normal in the logarithms of the numbers.

        P(ω) = strength/2 { Σ_parts [Σ_j (s_j − s̄)² + level·(s̄ − 1)² + (log c/3)²]
                            + Σ_j (2 log b_j)² }

    s_j is the logarithm of the j-th tuned factor on the lengthscales' start and s̄ their mean:
    log s is normal around a common level, as far as the data do not object. The level itself is
    normal around e·√d times the spreads of the features, where they have no start of the user's.
    c is the factor on the start of a part's scale, if it has one: a part that does not matter gets
    a small scale, and not one that falls without end. b are the skews of the curves of features.

    Parameters
    ----------
    places : tuple of int
        Which leaves of ω["kernel"] are lengthscales.
    scales, skews : tuple of int
        Which are scales, and which are skews.
    used : list of ndarray
        For each leaf, 1 for the numbers that the prior is of, and 0 for others.
    strength : array ()
        The precision, 1 by default.
    level : array ()
        1, or 0 where the user gave the lengthscales' start.

    References
    ----------
    Cawley, Talbot (2007), Preventing Over-Fitting during Model Selection via Bayesian
    Regularisation of the Hyper-Parameters, JMLR 8, Section 3 (for inverse lengthscales).
    Hvarfner, Hellsten, Nardi (2024), Vanilla Bayesian Optimization Performs Great in High
    Dimensions, Section 5 (the level grows with √d).
    """

    places: tuple[int, ...] = eqx.field(static=True)
    scales: tuple[int, ...] = eqx.field(static=True)
    skews: tuple[int, ...] = eqx.field(static=True)
    used: Any
    strength: Any
    level: Any

    @classmethod
    def of(cls, tunable, strength, level, used):
        """The prior of a Tunable kernel; ``used`` as ``Widths.used`` gives it."""
        names = tunable.names()
        places = [
            tuple(place for place, name in enumerate(names) if name == kind)
            for kind in ("lengthscale", "scale", "skew")
        ]
        used = [mask.astype(float) for mask in used]
        return cls(*places, used, np.array(float(strength)), np.array(float(level)))

    def __call__(self, omega):
        """P(ω)."""
        total = 0.0 * self.strength
        for place in self.places:
            logs, used = omega["kernel"][place], self.used[place]
            mean = jnp.sum(used * logs) / jnp.sum(used)
            total += jnp.sum(used * (logs - mean) ** 2) + self.level * (mean - LONGER) ** 2
        for places, width in ((self.scales, WIDE), (self.skews, BENT)):
            for place in places:
                total += jnp.sum((omega["kernel"][place] / width) ** 2)
        return 0.5 * self.strength * total


class WeightedPrior(Module):
    """weight·P(ω): the penalty of a problem whose L is a mean of negative log-likelihoods."""

    prior: KernelPrior
    weight: Any

    def __call__(self, omega):
        """weight·P(ω)."""
        return self.weight * self.prior(omega)
