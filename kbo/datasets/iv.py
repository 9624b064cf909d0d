"""Low-dimensional designs with an endogenous treatment: sigmoid, linear, demand."""

from __future__ import annotations

import inspect
from numbers import Integral, Real

import numpy as np
from scipy.special import ndtr
from sklearn.utils import Bunch, check_random_state

CONFOUNDING = 0.5  # cov(e, V) in the sigmoid and the linear design


def generator(random_state):
    """A NumPy Generator; an int seed gives the same one as ``RandomState(seed)``."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    return np.random.default_rng(check_random_state(random_state).randint(2**31 - 1, size=4))


def check_count(name, value, least=1):
    """``value`` as an int of at least ``least``.

    Raises
    ------
    ValueError
        For anything else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name}={value!r} is no such number: give an int of at least {least}")
    return int(value)


def bunch(maker, X, y, Z, X_test, true_function, **others):
    """The Bunch that every design returns, noiseless outcomes of the test points included."""
    return Bunch(
        X=X, y=y, Z=Z, X_test=X_test, y_test=true_function(X_test), true_function=true_function,
        DESCR=inspect.getdoc(maker), **others,
    )


def sigmoid_response(X):
    """h(x) = ln(|16x − 8| + 1)·sgn(x − ½), (n,), at points (n, 1)."""
    x = np.asarray(X, float)[:, 0]
    return np.log1p(np.abs(16 * x - 8)) * np.sign(x - 0.5)


def linear_response(X):
    """h(x) = 4x − 2, (n,), at points (n, 1)."""
    return 4 * np.asarray(X, float)[:, 0] - 2


def demand_response(X):
    """h(p, t, s) = 100 + (10 + p)sψ(t) − 2p, (n,), at points (n, 3)."""
    price, time, emotion = np.asarray(X, float).T
    return 100 + (10 + price) * emotion * time_effect(time) - 2 * price


def time_effect(t):
    """ψ(t) = 2((t − 5)⁴/600 + e^{−4(t−5)²} + t/10 − 2)."""
    return 2 * ((t - 5) ** 4 / 600 + np.exp(-4 * (t - 5) ** 2) + t / 10 - 2)


def _one_treatment(maker, response, n_samples, n_test, random_state):
    n, n_test = check_count("n_samples", n_samples), check_count("n_test", n_test)
    random = generator(random_state)
    V, W, rest = random.standard_normal((3, n))
    e = CONFOUNDING * V + np.sqrt(1 - CONFOUNDING**2) * rest
    X = ndtr((W + V) / np.sqrt(2))[:, None]
    X_test = np.linspace(0, 1, n_test)[:, None]
    return bunch(maker, X, response(X) + e, ndtr(W)[:, None], X_test, response)


def make_iv_sigmoid(n_samples=1000, n_test=1000, random_state=None):
    """y = h(X) + e with ``h(x) = ln(|16x − 8| + 1)·sgn(x − ½)``::

        (e, V, W) ~ N(0, [[1, ½, 0], [½, 1, 0], [0, 0, 1]])   X = Φ((W + V)/√2)   Z = Φ(W)

    X and Z are uniform on [0, 1]. The treatment shares V with the noise; the instrument does not.

    Parameters
    ----------
    n_samples : int
    n_test : int
        Test points, evenly spaced in [0, 1].
    random_state : int, RandomState, Generator or None

    Returns
    -------
    sklearn.utils.Bunch
        ``X`` (n, 1) treatment, ``y`` (n,), ``Z`` (n, 1) instrument, ``X_test`` (n_test, 1),
        ``y_test`` (n_test,) = h(X_test) without noise, ``true_function`` (X ↦ h(X)), ``DESCR``.

    Raises
    ------
    ValueError
        If ``n_samples`` or ``n_test`` is not a whole number of at least 1.

    References
    ----------
    Newey, Powell (2003); Singh, Sahani, Gretton (2019), Kernel Instrumental Variable Regression.
    """
    return _one_treatment(make_iv_sigmoid, sigmoid_response, n_samples, n_test, random_state)


def make_iv_linear(n_samples=1000, n_test=1000, random_state=None):
    """y = 4X − 2 + e::

        (e, V, W) ~ N(0, [[1, ½, 0], [½, 1, 0], [0, 0, 1]])   X = Φ((W + V)/√2)   Z = Φ(W)

    This is the sigmoid design with a linear structural function.

    Parameters
    ----------
    n_samples : int
    n_test : int
        Test points, evenly spaced in [0, 1].
    random_state : int, RandomState, Generator or None

    Returns
    -------
    sklearn.utils.Bunch
        ``X`` (n, 1) treatment, ``y`` (n,), ``Z`` (n, 1) instrument, ``X_test`` (n_test, 1),
        ``y_test`` (n_test,) = h(X_test) without noise, ``true_function`` (X ↦ h(X)), ``DESCR``.

    Raises
    ------
    ValueError
        If ``n_samples`` or ``n_test`` is not a whole number of at least 1.

    References
    ----------
    Singh, Sahani, Gretton (2019), Kernel Instrumental Variable Regression.
    """
    return _one_treatment(make_iv_linear, linear_response, n_samples, n_test, random_state)


def make_iv_demand(n_samples=1000, rho=0.5, random_state=None):
    """y = h(p, t, s) + e with h = 100 + (10 + p)sψ(t) − 2p: sales of tickets::

        s ~ U{1, …, 7},  t ~ U(0, 10),  c, v ~ N(0, 1),  p = 25 + (c + 3)ψ(t) + v
        ψ(t) = 2((t − 5)⁴/600 + e^{−4(t−5)²} + t/10 − 2),  e = ρv + √(1 − ρ²)·N(0, 1)

    p is the price, t the time of the year, and s the kind of customer; the cost of fuel c moves
    only the price. e has variance 1 for every ρ (some published code passes 1 − ρ² as a standard
    deviation).

    Parameters
    ----------
    n_samples : int
    rho : float
        ρ in [−1, 1], the correlation of price and demand shocks; at 0 there is no confounding.
    random_state : int, RandomState, Generator or None

    Returns
    -------
    sklearn.utils.Bunch
        ``X`` (n, 3) = (p, t, s), ``y`` (n,), ``Z`` (n, 3) = (c, t, s), ``X_test`` (2800, 3): 20
        prices in [10, 25] × 20 times in [0, 10] × 7 customers, ``y_test`` (2800,) = h(X_test)
        without noise, ``true_function`` (X ↦ h(X)), ``DESCR``.

    Raises
    ------
    ValueError
        If ``n_samples`` is not a whole number of at least 1, or ``rho`` is outside [−1, 1].

    References
    ----------
    Hartford, Lewis, Leyton-Brown, Taddy (2017), Deep IV, Section 5.1.
    """
    n = check_count("n_samples", n_samples)
    if isinstance(rho, bool) or not isinstance(rho, Real) or not -1 <= rho <= 1:
        raise ValueError(f"rho={rho!r} is not a correlation: give a number between -1 and 1")
    random = generator(random_state)
    emotion, time = random.integers(1, 8, size=n).astype(float), random.uniform(0, 10, size=n)
    cost, v, rest = random.standard_normal((3, n))
    price = 25 + (cost + 3) * time_effect(time) + v
    X = np.column_stack([price, time, emotion])
    y = demand_response(X) + rho * v + np.sqrt(1 - rho**2) * rest
    axes = np.linspace(10, 25, 20), np.linspace(0, 10, 20), np.arange(1.0, 8.0)
    X_test = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], 1)
    Z = np.column_stack([cost, time, emotion])
    return bunch(make_iv_demand, X, y, Z, X_test, demand_response)
