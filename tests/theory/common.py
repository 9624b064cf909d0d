"""Records made up of known rates."""

import numpy as np

import theory


def made_up(exponent, bias=0.0, repeats=200, sizes=(50, 100, 200, 400, 800), seed=0, outside=()):
    """Records with known fluctuation and bias."""
    rng = np.random.default_rng(seed)
    errors = {
        (n, n): bias * 3 / n + n**exponent * rng.normal(size=(repeats, 3)) for n in sizes
    }
    about = {"outside": list(outside), "truth_sizes": {"grad": 10.0}}
    return theory.Records(about, {"grad": errors})


SIZES = (100, 200, 400, 800, 1600)


def recorded(rows, quantity="grad", size=1.0, **about):
    """Records of arrays by (n, m)."""
    sizes = {} if size is None else {"truth_sizes": {quantity: size}}
    return theory.Records({**sizes, **about}, {quantity: rows})


def noisy(mean, repeats=50, sizes=SIZES, seed=0, spread=1.0, exponent=-0.5, q=3):
    """Rows with a known mean error and a fluctuation of spread · n^exponent."""
    rng = np.random.default_rng(seed)
    return {
        (n, n): mean(n) + spread * n**exponent * rng.normal(size=(repeats, q)) for n in sizes
    }


def apart(pairs, C1, C2, end=0.0, repeats=60, seed=0):
    """Errors of n and m with shares C₁²/m and C₂²/n of the mean square."""
    rng = np.random.default_rng(seed)
    return recorded({
        (n, m): end + np.sqrt((C1**2 / m + C2**2 / n) / 3) * rng.normal(size=(repeats, 3))
        for n, m in pairs
    })
