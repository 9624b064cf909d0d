"""Gradients of a minimum."""

import numpy as np
import optax
import pytest

import kbo
from kbo.hypergradients import MinMin
from tests.helpers import logistic_regression

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("gradient", ["analytic", "automatic", "implicit"])
def test_gradients_of_a_minimum_are_those_of_its_central_differences(gradient):
    problem, _ = logistic_regression()
    method = MinMin(gradient, 300, optax.sgd(0.5))
    of = lambda w: kbo.value_and_hypergradient(problem, w, method=method)
    expected = (of(-2.0 + 1e-5).value - of(-2.0 - 1e-5).value) / 2e-5
    assert of(-2.0).grad == pytest.approx(expected, rel=1e-6)
    # J itself, by Newton: the outer problem plays no part.
    h = kbo.value_and_hypergradient(problem, -2.0).inner
    data, theta = problem.inner_data, np.asarray(h.coefficients)[0, :, 0]
    losses = np.logaddexp(0, -np.asarray(data.target) * np.asarray(h(data.x)))
    assert of(-2.0).value == pytest.approx(losses.mean() + 0.5 * np.exp(-2.0) * theta @ theta)
    best = kbo.minimize(problem, -2.0, method=method, bounds=(-3.0, 4.0))
    assert best.omega == pytest.approx(-3.0)  # J falls with the ridge
    # A target that ω moves: what does not depend on θ counts too.
    moving = problem.replace(inner_loss=kbo.losses.SquaredTo(lambda w, t: t * w))
    value = kbo.value_and_hypergradient(moving, 0.3, method=method).value
    other = kbo.value_and_hypergradient(moving, 0.3, method=MinMin("analytic", 301, optax.sgd(0.5)))
    assert value == pytest.approx(other.value) and value > 0


def test_bad_settings_of_minima_are_refused():
    for settings, message in (({"gradient": "numeric"}, "gradient"), ({"steps": 0}, "steps")):
        with pytest.raises(ValueError, match=message):
            MinMin(**settings)
