"""Random misuses: a clear error that names the argument, or the right value; never a wrong one.

Each case replaces one or two fields of a small problem by something a user might give by mistake.
What is not refused is compared with kernel ridge regression in NumPy.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import kbo
from tests.small import OMEGA, N, X, Y, problem, right_value

WEIGHTS = np.random.default_rng(1).uniform(0.5, 2, N)
OWN = lambda w, v, t: 0.5 * (v - t) ** 2


class Wrong(str):
    """A case that must be refused, with a word of the message it needs."""


# Each list holds (value to give, what it means): an array for the oracle, or Wrong(word).
XS = [
    (X.tolist(), X), (np.asfortranarray(X), X), (pd.DataFrame(X), X), (np.asmatrix(X), X),
    (np.ma.array(X), X), (X.astype(object).astype(float), X), (X[::-1][::-1], X),
    (X.astype(">f8"), X), (np.ma.masked_less(X, 0), Wrong("x")), (X + 1j, Wrong("x")),
    (X.astype(str), Wrong("x")), ([*X.astype(object).tolist(), ["a", "b"]], Wrong("x")),
    (np.where(X > 1, np.nan, X), Wrong("x")), (np.where(X > 1, np.inf, X), Wrong("x")),
    (X[:, :, None], Wrong("x")), (X[:0], Wrong("x")), (X[:, :0], Wrong("x")), (X[0, 0], Wrong("x")),
    (X[:-1], Wrong("target")), (np.r_[X, X], Wrong("target")), (X[:, :1], Wrong("feature")),
    (np.c_[X, X], Wrong("feature")), (None, Wrong("x")), ("data.csv", Wrong("x")),
    (scipy.sparse.csr_matrix(X), Wrong("x")), ({"a": X}, Wrong("x")), (X.T, Wrong("target")),
]
YS = [
    (pd.Series(Y, index=np.arange(N) + 5), Y), (Y[:, None], Y), (np.asfortranarray(Y), Y),
    (np.ma.array(Y), Y), (np.round(4 * Y).astype(int), np.round(4 * Y)), (Y > 0, (Y > 0) * 1.0),
    (Y.astype(">f8"), Y), (np.ma.masked_less(Y, 0), Wrong("target")), (Y + 1j, Wrong("complex")),
    (Y.astype(str), Wrong("target")), (np.where(Y > 0, np.nan, Y), Wrong("target")),
    (np.where(Y > 0, np.inf, Y), Wrong("target")), (Y[:-1], Wrong("target")),
    (np.r_[Y, Y], Wrong("target")), (Y[None], Wrong("target")), (np.c_[Y, Y], Wrong("n_outputs")),
    (None, Wrong("target")), (1.0, Wrong("target")), (Y.tolist(), Wrong("target")),
    ({"y": Y}, Wrong("target")), ("y", Wrong("target")), (Y.astype(object), Y),
    (np.datetime64("2020-01-01") + np.arange(N), Wrong("target")),
]
WS = [
    (WEIGHTS, WEIGHTS), (WEIGHTS.tolist(), WEIGHTS), (pd.Series(WEIGHTS), WEIGHTS),
    (np.arange(N), np.arange(N) * 1.0), (np.arange(N) > 3, (np.arange(N) > 3) * 1.0),
    (WEIGHTS[None], WEIGHTS), (1e6 * WEIGHTS, WEIGHTS), (1e-6 * WEIGHTS, WEIGHTS),
    (-WEIGHTS, Wrong("weights")), (0 * WEIGHTS, Wrong("weights")),
    (np.where(WEIGHTS > 1, np.nan, 1), Wrong("weights")), (WEIGHTS[:-1], Wrong("weights")),
    (np.where(WEIGHTS > 1, np.inf, 1), Wrong("weights")), (WEIGHTS[:, None], Wrong("weights")),
    (WEIGHTS + 1j, Wrong("weights")), ("balanced", Wrong("weights")), (2.0, Wrong("weights")),
    (np.ma.masked_less(WEIGHTS, 1), Wrong("weights")), (WEIGHTS[None, None], Wrong("weights")),
]
RIDGES = [
    (0.1, 0.1), (1, 1.0), (np.float32(0.5), 0.5), (jnp.asarray(0.25), 0.25), (np.array([0.1]), 0.1),
    ([0.1], 0.1), (lambda w: 0.3, 0.3), (lambda w: jnp.array([0.3]), 0.3),
    (-0.1, Wrong("ridge")), (0.0, Wrong("ridge")), (np.nan, Wrong("ridge")), (None, Wrong("ridge")),
    (np.inf, Wrong("ridge")), ("0.1", Wrong("ridge")), (True, Wrong("ridge")), (1j, Wrong("ridge")),
    ([0.1, -0.1], Wrong("ridge")), (np.ones((2, 2)), Wrong("ridge")), (lambda w: w, Wrong("ridge")),
    (lambda w: jnp.ones((2, 2)), Wrong("ridge")), (lambda w: -jnp.exp(w[1]), Wrong("ridge")),
    (lambda w: "a", Wrong("ridge")),
]
SPACES = [
    (kbo.RKHS, Wrong("class")), (kbo.kernels.Gaussian(1.0), Wrong("kernel")), (None, Wrong("space")),
    ("gaussian", Wrong("space")), (kbo.RandomFourierFeatures(4, 2), Wrong("space")),
    (lambda w: kbo.kernels.Gaussian(1.0), Wrong("space")), (lambda w: None, Wrong("space")),
    (lambda w: kbo.RKHS, Wrong("space")), (kbo.RKHS(lambda a, b: a * b), Wrong("kernel")),
    (kbo.FeatureSpace(lambda x: x[0]), Wrong("feature_map")),
]
LOSSES = [
    (OWN, "own"), (lambda w, v, t: OWN(w, v, t) + 0 * w[0], "own"),
    (kbo.losses.Squared, Wrong("class")), (None, Wrong("loss")), ("squared", Wrong("loss")),
    (lambda w, v, t: (OWN(w, v, t), v), Wrong("loss")), (lambda w, v, t: None, Wrong("loss")),
    (lambda w, v, t: OWN(w, v, t) * jnp.ones(1), Wrong("loss")),
    (lambda w, v, t: OWN(w, v, t) * jnp.ones((2, 2)), Wrong("loss")),
    (lambda w, v, t: v > t, Wrong("loss")), (lambda w, v, t: OWN(w, v, t) * 1j, Wrong("loss")),
    (kbo.losses.Logistic(), Wrong("-1")), (kbo.losses.Multinomial(), Wrong("n_outputs")),
    (kbo.losses.Poisson(), Wrong("counts")), (kbo.losses.Huber(-1.0), Wrong("delta")),
    (kbo.losses.SmoothQuantile(2.0), Wrong("quantile")),
    (lambda w, v, t: jnp.where(t > -9, OWN(w, v, t), jnp.log(0 * v)), Wrong("derivative")),
]
OMEGAS = [
    (OMEGA.tolist(), OMEGA), (tuple(OMEGA), OMEGA), (jnp.asarray(OMEGA), OMEGA),
    (OMEGA.astype(np.float16), OMEGA.astype(np.float16).astype(float)),
    (pd.Series(OMEGA), Wrong("omega")),
    (np.array([0, -2]), Wrong("omega")), (OMEGA + 1j, Wrong("omega")), (None, Wrong("omega")),
    (np.array([np.nan, 0]), Wrong("omega")), (np.array([0, np.inf]), Wrong("omega")),
    ("a", Wrong("omega")), (np.array(["a", "b"]), Wrong("omega")), (jnp.tanh, Wrong("omega")),
    (jax.random.key(0), Wrong("omega")), ([0.1, "a"], Wrong("omega")), ({}, Wrong("omega")),
    ([0.1, True], Wrong("omega")), (np.array([None, None]), Wrong("omega")),
]
PENALTIES = [
    (lambda w: 0.25 * (w[0] ** 2 + w[1] ** 2), 0.25), (None, 0.0), (0.1, Wrong("penalty")),
    (lambda w: w, Wrong("penalty")), (lambda w: w[:1], Wrong("penalty")),
    (lambda w: (w[0], 1), Wrong("penalty")), (lambda w: None, Wrong("penalty")),
    (lambda w: jnp.linalg.norm(w - w), Wrong("penalty")), ("l2", Wrong("penalty")),
    (lambda w: jnp.sqrt(w[0] - w[0]), Wrong("penalty")), (lambda w: 3, Wrong("penalty")),
]
OUTPUTS = [
    (None, None), (1, 1), (0, Wrong("n_outputs")), (-1, Wrong("n_outputs")),
    (2, Wrong("target")), ("1", Wrong("n_outputs")), (1.0, Wrong("n_outputs")),
    (True, Wrong("n_outputs")), (np.nan, Wrong("n_outputs")),
]
OPTIONS = [
    ({"solver": kbo.solvers.Exact()}, None), ({"key": jax.random.key(0)}, None),
    ({"key": jax.random.key(0, impl="rbg")}, None), ({"key": jax.random.PRNGKey(0)}, None),
    ({"throw": False}, None), ({"solver": kbo.solvers.Exact}, Wrong("solver")),
    ({"solver": "exact"}, Wrong("solver")), ({"method": "implicit"}, Wrong("method")),
    ({"method": kbo.hypergradients.Implicit}, Wrong("method")),
    ({"solver": kbo.hypergradients.Implicit()}, Wrong("solver")),
]
BOUNDS = [
    ((-5.0, 5.0), None), ((OMEGA - 1, OMEGA + 1), None), ((OMEGA + 1, OMEGA + 2), Wrong("bounds")),
    ((5.0, -5.0), Wrong("bounds")), ((np.nan, 1.0), Wrong("bounds")), ((0.0,), Wrong("bounds")),
    (3.0, Wrong("bounds")), ("free", Wrong("bounds")), ((np.zeros(3), np.ones(3)), Wrong("bounds")),
    (({"a": 0.0}, {"a": 1.0}), Wrong("bounds")),
]
FIELDS = {
    "x": XS, "y": YS, "weights": WS, "ridge": RIDGES, "space": SPACES, "inner_loss": LOSSES,
    "outer_loss": LOSSES, "omega": OMEGAS, "penalty": PENALTIES, "n_outputs": OUTPUTS,
    "options": OPTIONS, "bounds": BOUNDS,
}


def case(seed):
    """Fields and their values: one or two misuses."""
    rng = np.random.default_rng(seed)
    names = rng.choice(list(FIELDS), 1 + int(rng.random() < 0.6), replace=False)
    return {str(name): FIELDS[name][rng.integers(len(FIELDS[name]))] for name in names}


def outcome(given):
    """The result of the verb for the given misuses."""
    value = lambda name, default: given[name][0] if name in given else default
    inner = kbo.Sample(value("x", X), value("y", Y), value("weights", None))
    fields = {
        name: value(name, None) for name in
        ("ridge", "space", "inner_loss", "outer_loss", "penalty", "n_outputs") if name in given
    }
    p = problem(inner_data=inner, **fields)
    options = value("options", {})
    if "bounds" in given:
        options = {name: option for name, option in options.items() if name != "state"}
        return kbo.minimize(
            p, value("omega", OMEGA), bounds=value("bounds", None),
            optimizer=kbo.optimizers.GradientDescent(max_steps=0), **options,
        )
    return kbo.value_and_hypergradient(p, value("omega", OMEGA), **options)


def check(seed):
    """See ``checked``, for a random case."""
    return checked(case(seed), seed)


def checked(given, seed=None):
    """Whether the given misuses are refused by a clear error, or give the right value."""
    words = [meaning for _, meaning in given.values() if isinstance(meaning, Wrong)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = outcome(given)
        except (ValueError, TypeError, kbo.BilevelError) as error:
            text = " ".join([str(error), *getattr(error, "__notes__", [])])
            assert any(word in text for word in (*words, *given)), (seed, given, text)
            assert words, (seed, given, text)
            return "refused"
    if words and given.get("options", [{}])[0].get("throw") is False:
        assert not found.status.usable and any(word in found.hint for word in words), (seed, found)
        return "refused"
    assert not words, (seed, given, found)
    meaning = {name: value for name, (_, value) in given.items()}
    omega = meaning.get("omega", OMEGA)
    if "ridge" in meaning:
        fixed = np.log(meaning["ridge"])
    data = {"x": meaning.get("x", X), "y": meaning.get("y", Y), "weights": meaning.get("weights")}

    def right(w):
        w = np.asarray(w, float)
        penalty = meaning.get("penalty", 0.0) * np.sum(w**2)
        at = np.array([w[0], fixed]) if "ridge" in meaning else w
        return right_value(at, **data) + penalty

    np.testing.assert_allclose(found.value, right(omega), rtol=1e-8, err_msg=f"{seed} {given}")
    if hasattr(found, "grad"):
        step = 1e-5 * np.eye(2)
        expected = [(right(omega + e) - right(omega - e)) / 2e-5 for e in step]
        flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found.grad)])
        np.testing.assert_allclose(flat, expected, rtol=1e-5, atol=1e-8, err_msg=f"{seed} {given}")
    assert found.status.completed or "bounds" in given
    return "right"


def test_random_misuses_are_refused_or_right(x64):
    outcomes = [check(seed) for seed in range(80)]
    assert outcomes.count("refused") > 25 and outcomes.count("right") > 8


@pytest.mark.slow
def test_three_thousand_random_misuses(x64):
    outcomes = [check(seed) for seed in range(10_000, 13_000)]
    assert outcomes.count("refused") > 1000 and outcomes.count("right") > 300


def test_every_single_misuse_of_the_lists(x64):
    """Each entry alone, which the random draws need not meet."""
    failures = []
    for name, entries in FIELDS.items():
        for k in range(len(entries)):
            given = {name: entries[k]}
            try:
                checked(given)
            except AssertionError as error:
                failures.append(f"{name}[{k}]: {error}"[:300])
    assert not failures, "\n".join(failures)
