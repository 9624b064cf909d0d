"""Hypergradients of rows that are drawn."""

import numpy as np
import optax
import pytest

import kbo
from kbo.hypergradients import CG, Identity, Implicit, Mean, Parametric, Stochastic, Unrolled
from kbo.optimizers import Optax
from tests import helpers
from tests.hypergradients.common import ADAM, FEATURES, check_resumes, one_target
from tests.neural import OMEGA, functional_case, iv_like

pytestmark = pytest.mark.usefixtures("x64")


def test_wrappers_pass_the_tolerance_on():
    linear = Parametric(CG(50))
    for wrapper in (Stochastic(inner_size=5, method=linear), Mean((), linear)):
        assert wrapper.within(0.3).method.linear_solver.tol == 0.3
    assert Stochastic(method=Parametric(Identity())).within(0.3).method == Parametric(Identity())
    assert Implicit().within(0.3) == Implicit()


def test_the_last_iterate_is_returned_where_values_do_not_compare():
    problem, omega, _ = functional_case()
    problem = problem.replace(space=kbo.RKHS(kbo.kernels.Gaussian(0.5)))
    last = []
    found = kbo.minimize(
        problem, omega, method=Stochastic(30, 20),
        optimizer=Optax(optax.sgd(0.3), max_steps=8), callback=lambda r: last.append(r.omega) and 0,
    )
    np.testing.assert_array_equal(found.omega, last[-1])
    default = kbo.minimize(problem, omega, method=Stochastic(30, 20))
    assert default.n_steps == 100  # Adam, not a line search


def test_stochastic_gradients_average_to_the_gradient_of_many_parts():
    """With L linear in what is drawn (outer rows alone), the mean over draws is ∇L."""
    problem, omega, _ = functional_case()
    problem = problem.replace(space=kbo.RKHS(kbo.kernels.Gaussian(0.5)))
    exact = kbo.value_and_hypergradient(problem, omega)
    state, grads = None, []
    for _ in range(300):
        hg = kbo.value_and_hypergradient(
            problem, omega, method=Stochastic(None, 10), state=state
        )
        state = hg.state
        grads.append(hg.grad)
    error = np.std(grads, 0) / np.sqrt(300)
    assert (np.abs(np.mean(grads, 0) - exact.grad) < 5 * error).all()


def test_stochastic_draws_rows_of_data_that_depend_on_omega():
    problem, omega = helpers.everything_problem()
    part = kbo.value_and_hypergradient(problem, omega, method=Stochastic(12, 9))
    whole = kbo.value_and_hypergradient(problem, omega, method=Stochastic(500, 500))
    exact = kbo.value_and_hypergradient(problem, omega)
    assert whole.value == pytest.approx(exact.value, rel=1e-12)
    assert part.value != pytest.approx(exact.value, rel=1e-3)
    with pytest.raises(ValueError, match="inner_size"):
        Stochastic(0)


@pytest.mark.slow
def test_draws_go_on_from_each_other_where_the_method_trains():
    problem, state = iv_like(FEATURES), None
    for _ in range(40):
        hg = kbo.value_and_hypergradient(
            problem, OMEGA, method=Stochastic(30, None, Unrolled(1, optax.sgd(0.1))), state=state
        )
        state = hg.state
    exact = kbo.value_and_hypergradient(problem, OMEGA)
    assert hg.value == pytest.approx(exact.value, rel=0.1)  # one step from zero is far from it


def test_coefficients_of_a_part_are_no_start_for_the_whole(tmp_path):
    problem, omega = one_target(kbo.RKHS(kbo.kernels.Gaussian()))
    method = Stochastic(30, None, Unrolled(3))
    check_resumes(problem, method, Optax(ADAM, max_steps=3), tmp_path, omega)
