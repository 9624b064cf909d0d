"""Instrumental variables with learned features: each estimator is the other's oracle."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

import kbo
from kbo.datasets import make_iv_demand, make_iv_sigmoid
from kbo.estimators.instruments.deep_feature import TwoStages
from kbo.estimators.instruments.networks import StageData, TreatmentFeatures
from kbo.networks import MLP, initial_weights
from kbo.spaces.neural import NetworkFeatures

QUICK = {"max_iter": 2, "inner_iter": 2, "n_features": 4, "random_state": 0}
SMALL = {
    "treatment_network": MLP((8,)), "instrument_network": MLP((8,)), **QUICK,
}
ESTIMATORS = {
    "last_layer": kbo.FuncIVRegressor("last_layer", **SMALL),
    "network": kbo.FuncIVRegressor("network", **SMALL),
    "rkhs": kbo.FuncIVRegressor("rkhs", **SMALL),
    "dfiv": kbo.DeepFeatureIV(**SMALL),
}


def test_progress_is_shown_if_asked_for(capsys):
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(40, 1))
    X = Z + 0.3 * rng.normal(size=(40, 1))
    for verbose in (0, 1):
        kbo.FuncIVRegressor("rkhs", **SMALL, verbose=verbose).fit(X, X[:, 0], Z)
        assert ("kbo.minimize" in capsys.readouterr().err) == bool(verbose)


def test_the_second_stage_of_dfiv_has_the_implicit_hypergradient(x64):
    """Automatic differentiation through closed forms, against the adjoint of FuncID-linear."""
    rng = np.random.default_rng(0)
    stages = []
    for n in (40, 30):
        z = rng.normal(size=(n, 2))
        x = z + 0.3 * rng.normal(size=(n, 2))
        stages.append(StageData(*map(jnp.asarray, (x, np.sin(x[:, 0]), z, rng.uniform(0.5, 2, n)))))
    features, network = TreatmentFeatures(MLP((6,))), MLP((5,))
    one = lambda net, key, q: jax.tree.map(
        lambda leaf: leaf[0], initial_weights(net, jax.random.key(key), stages[0].z[0], q, 1)
    )
    params, body = one(features.network, 0, 3), one(network, 1, 4)
    two = TwoStages(features, network, 0.1, 0.05)
    value, grad = jax.value_and_grad(two.second)(params, body, stages)
    first, second = stages
    problem = kbo.BilevelProblem(
        inner_loss=kbo.losses.SquaredTo(features), outer_loss=kbo.losses.Readout(0.05),
        inner_data=kbo.Sample(first.z, first.x, first.weight),
        outer_data=kbo.Sample(second.z, second.y, second.weight),
        space=kbo.FeatureSpace(NetworkFeatures(network, body, constant=True)), ridge=0.1, n_outputs=3,
    )
    hg = kbo.value_and_hypergradient(problem, params)
    assert hg.value == pytest.approx(float(value), rel=1e-10)
    for ours, theirs in zip(jax.tree.leaves(hg.grad), jax.tree.leaves(grad), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-12)


def confounded(n, seed):
    """y = |x| + 2e, x = z + e: regression on x adds 1 to every slope."""
    rng = np.random.default_rng(seed)
    z, e = rng.uniform(-2, 2, (n, 1)), 0.7 * rng.normal(size=n)
    x = z[:, 0] + e
    return x[:, None], np.abs(x) + 2 * e, z


@pytest.mark.parametrize("name", ["dfiv", pytest.param("network", marks=pytest.mark.slow)])
def test_the_confounding_is_removed(name):
    x, y, z = confounded(1000, 0)
    x_test = np.linspace(-1.5, 1.5, 101)[:, None]
    error = lambda values: np.mean((values - np.abs(x_test[:, 0])) ** 2)
    estimator = clone(ESTIMATORS[name]).set_params(
        max_iter=100, inner_iter=10, n_features=8, treatment_network=MLP((32,)),
        instrument_network=MLP((32,)),
    )
    biased = np.polyval(np.polyfit(x[:, 0], y, 7), x_test[:, 0])
    share = 0.4 if name == "network" else 0.7
    assert error(estimator.fit(x, y, z).predict(x_test)) < share * error(biased)
    assert estimator.first_stage_strength_ > 0.3


@pytest.mark.filterwarnings("ignore:the instruments explain")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_predictions_derivatives_and_copies(name):
    data = make_iv_demand(200, random_state=0)
    model = clone(ESTIMATORS[name]).fit(data.X, data.y, data.Z)
    again = clone(model).fit(data.X, data.y, data.Z)
    np.testing.assert_array_equal(model.predict(data.X_test), again.predict(data.X_test))
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(model.predict(data.X_test), copy.predict(data.X_test))
    assert model.n_instruments_in_ == 3
    X, steps = data.X[:20], 1e-2 * data.X.std(0)
    differences = [
        np.mean(model.predict(X + step * axis) - model.predict(X - step * axis)) / (2 * step)
        for step, axis in zip(steps, np.eye(3), strict=True)
    ]
    np.testing.assert_allclose(model.average_derivative(X), differences, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_instruments_that_say_nothing_are_reported(name):
    data = make_iv_sigmoid(300, random_state=0)
    model = clone(ESTIMATORS[name])
    with pytest.warns(kbo.estimators.WeakInstrumentWarning, match="stronger instruments"):
        model.fit(data.X, data.y, np.random.default_rng(1).normal(size=(300, 1)))
    with pytest.raises(ValueError, match="Z is constant"):
        model.fit(data.X, data.y, np.ones((300, 1)))
    broken = data.Z.copy()
    broken[3] = np.nan
    with pytest.raises(ValueError, match="Z contains NaN"):
        model.fit(data.X, data.y, broken)


def test_without_instruments_the_treatment_is_its_own():
    data = make_iv_sigmoid(100, random_state=0)
    model = clone(ESTIMATORS["dfiv"])
    alone = model.fit(data.X, data.y).predict(data.X_test)
    np.testing.assert_array_equal(alone, clone(model).fit(data.X, data.y, data.X).predict(data.X_test))


def test_weights_of_zero_leave_samples_out():
    data = make_iv_demand(120, random_state=0)
    weight = np.r_[np.ones(100), np.zeros(20)]
    garbage = data.y.copy()
    garbage[100:] = 1e6
    for name in ("last_layer", "dfiv"):
        model = clone(ESTIMATORS[name])
        one = model.fit(data.X, data.y, data.Z, weight).predict(data.X_test)
        other = clone(model).fit(data.X, garbage, data.Z, weight).predict(data.X_test)
        np.testing.assert_array_equal(one, other)


def test_divergence_is_an_error_with_a_remedy():
    data = make_iv_sigmoid(100, random_state=0)
    with pytest.raises((ValueError, kbo.BilevelError), match=r"learning[_ ]rate"):
        clone(ESTIMATORS["network"]).set_params(learning_rate=1e12).fit(data.X, data.y, data.Z)


def test_the_callback_sees_every_step_and_may_stop():
    data = make_iv_sigmoid(100, random_state=0)
    seen = []
    model = clone(ESTIMATORS["last_layer"]).set_params(
        max_iter=9, callback=lambda record: seen.append(record.value) or record.step == 3
    )
    model.fit(data.X, data.y, data.Z)
    assert len(seen) == 4
    assert [r.value for r in model.history_] == seen


def test_the_adjoints_penalty_shrinks_it():
    """The outer loss sees ω through g alone: where a is nothing there is no gradient."""
    data = make_iv_sigmoid(100, random_state=0)
    fits = []
    for l2 in (0.0, 1e-2, 1e3):
        model = clone(ESTIMATORS["network"]).set_params(adjoint_l2=l2, inner_iter=200, max_iter=3)
        fits.append([r.grad_norm for r in model.fit(data.X, data.y, data.Z).history_][-1])
    assert fits[2] < 1e-2 * fits[1]
    assert fits[1] < fits[0]


@pytest.mark.parametrize("space", ["last_layer", "network"])
def test_omega_ends_at_the_mean_of_its_last_iterates(space):
    data = make_iv_sigmoid(100, random_state=0)
    ends, seen = {}, []
    for average in (0.0, 0.5):
        model = clone(ESTIMATORS[space]).set_params(
            max_iter=8, average=average, callback=lambda record: seen.append(record.omega)
        )
        ends[average] = model.fit(data.X, data.y, data.Z)
        assert model.n_iter_ == len(model.history_) - 1 == 8 + (average > 0)
    assert [r.value for r in ends[0.5].history_[:-1]] == [r.value for r in ends[0.0].history_]
    last = jax.tree.leaves(jax.tree.map(lambda *leaves: np.mean(leaves, 0), *seen[-5:-1]))
    for mean, kept in zip(last, jax.tree.leaves(ends[0.5]._params), strict=True):
        np.testing.assert_allclose(kept, mean, rtol=1e-5, atol=1e-6)


def test_the_adjoint_may_be_another_network():
    """Up to the outer value of the first step, which needs no adjoint, nothing depends on it."""
    data = make_iv_sigmoid(100, random_state=0)
    values = []
    for adjoint in (None, MLP((8,)), MLP((3, 3))):
        model = clone(ESTIMATORS["network"]).set_params(adjoint_network=adjoint)
        values.append([r.value for r in model.fit(data.X, data.y, data.Z).history_])
    assert values[0] == values[1]
    assert values[1][0] == values[2][0]
    assert values[1][1] != values[2][1]


@pytest.mark.filterwarnings("error:float32 data")  # no kernel system is solved
def test_the_inner_network_ends_in_a_layer_that_is_solved_for():
    """Its first value is that of a least-squares layer on the first body, whatever is trained."""
    data = make_iv_sigmoid(100, random_state=0)
    still = {"max_iter": 1, "inner_iter": 1, "learning_rate": 1e-12, "weight_decay": 0.0}
    strengths = []
    for ridge in (1e-3, None, 1e-2, 10.0):
        model = clone(ESTIMATORS["network"]).set_params(first_ridge=ridge, **still)
        strengths.append(model.fit(data.X, data.y, data.Z).first_stage_strength_)
    assert strengths[0] > 0.3  # a random layer would explain nothing
    assert strengths[1] == strengths[2]
    assert 0 < strengths[3] < 0.9 * strengths[0]


@pytest.mark.filterwarnings("ignore:the instruments explain")
@pytest.mark.parametrize("name", ["last_layer", "dfiv"])
def test_columns_that_share_a_unit_keep_it(name):
    """Standardised, a column does not care about its unit; otherwise small columns count little."""
    data = make_iv_demand(100, random_state=0)
    scaled = data.X * [1.0, 1.0, 1e-6]
    for standardize in (True, False):
        model = clone(ESTIMATORS[name]).set_params(standardize=standardize)
        one = model.fit(data.X, data.y, data.Z).predict(data.X)
        other = clone(model).fit(scaled, data.y, data.Z).predict(scaled)
        if standardize:
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
        else:
            assert np.abs(one - other).max() > 1e-2


def test_the_first_ridge_is_by_default_that_of_its_space():
    data = make_iv_sigmoid(100, random_state=0)
    for space, usual, other in (("rkhs", 1e-4, 1e-2), ("last_layer", 1e-2, 1e-4)):
        values = [
            clone(ESTIMATORS[space]).set_params(first_ridge=ridge).fit(
                data.X, data.y, data.Z).history_[-1].value
            for ridge in (None, usual, other)
        ]
        assert values[0] == values[1] != values[2]


def test_another_method_takes_the_place_of_the_implicit_one():
    data = make_iv_sigmoid(100, random_state=0)
    fits = [
        clone(ESTIMATORS["network"]).set_params(method=method).fit(data.X, data.y, data.Z)
        for method in (None, kbo.hypergradients.Implicit(), kbo.hypergradients.Stochastic(20, 20))
    ]
    values = [[r.value for r in model.history_] for model in fits]
    assert values[0] == values[1] != values[2]


def test_bad_parameters_are_named():
    data = make_iv_sigmoid(50, random_state=0)
    with pytest.raises(ValueError, match="adjoint_network"):
        clone(ESTIMATORS["last_layer"]).set_params(adjoint_network=MLP()).fit(
            data.X, data.y, data.Z
        )
    for changes in ({"space": "nowhere"}, {"first_ridge": 0.0}, {"max_iter": 0}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            clone(ESTIMATORS["last_layer"]).set_params(**changes).fit(data.X, data.y, data.Z)
    with pytest.raises(ValueError, match="too few"):
        clone(ESTIMATORS["dfiv"]).fit(data.X[:3], data.y[:3], data.Z[:3])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["last_layer", "dfiv"])
def test_scikit_learns_own_checks(name):
    expected = {
        "check_sample_weight_equivalence_on_dense_data":
            "a weight of two is not two samples: the halves are drawn by sample",
    }
    check_estimator(clone(ESTIMATORS[name]), expected_failed_checks=expected)
