"""A linear design that the tests of several estimators share."""

import numpy as np


def linear_design(n=300, seed=0, strength=1.0):
    """y = 1 + 2 x + w + e with x endogenous, w exogenous, and two instruments."""
    rng = np.random.default_rng(seed)
    z, w, v = rng.normal(size=(n, 2)), rng.normal(size=n), rng.normal(size=n)
    x = strength * (z @ [1.0, 0.5]) + 0.5 * w + v
    y = 1 + 2 * x + w + 0.8 * v + 0.5 * rng.normal(size=n) * (1 + abs(z[:, 0]))
    return np.column_stack([x, w]), y, np.column_stack([z, w])
