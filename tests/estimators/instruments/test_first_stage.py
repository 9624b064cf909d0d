"""KernelIVRegressor where the response is steep: the first stage's ridge must not bias h.

The second design of Dikkala, Lewis, Mackey and Syrgkanis (2020), Minimax Estimation of Conditional
Moment Models: h(x) = −1.5x + 0.9x², whose conditional mean is steepest where instruments are rare.
"""

import numpy as np
import pytest

from kbo.estimators import KernelIVRegressor


def quadratic(n, seed):
    """Samples X, y, Z, standardised, and test points with h there."""
    rng = np.random.default_rng(seed)
    h = lambda x: -1.5 * x + 0.9 * x**2

    def draw(n):
        c, z = rng.normal(size=n), rng.normal(size=n)
        return 1.2 * z + 0.8 * c + 0.1 * rng.normal(size=n), z, c

    x, z, c = draw(n)
    y = h(x) + 2 * c + 0.1 * rng.normal(size=n)
    x_test = draw(1000)[0]
    scale = lambda v: (v - y.mean()) / y.std()
    return x[:, None], scale(y), z[:, None], x_test[:, None], scale(h(x_test))


def errors(n, seed, **settings):
    """Mean squared errors of h: ours, and of regression on x that ignores z."""
    X, y, Z, X_test, truth = quadratic(n, seed)
    model = KernelIVRegressor(random_state=0, **settings).fit(X, y, Z=Z)
    ignoring = np.polynomial.Polynomial.fit(X[:, 0], y, 4)(X_test[:, 0])
    return [np.mean((guess - truth) ** 2) for guess in (model.predict(X_test), ignoring)]


def test_a_steep_response_is_not_worse_than_ignoring_the_instrument():
    found, ignoring = errors(300, 1002)  # .65 where the first stage's ridge biases
    assert found < 0.08 < ignoring


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"criterion": "cv"}, {"kernel": "matern52"}])
@pytest.mark.parametrize("seed", [1000, 1001, 1002, 7, 8])
def test_more_samples_help(settings, seed):
    found, ignoring = errors(2000, seed, **settings)
    assert found < 0.03
    assert ignoring > 0.08
