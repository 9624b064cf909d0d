"""The problems of bilevel.py, each with a start, bounds and, where it is known, min L."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import kbo
from kbo import losses
from kbo.datasets import make_bilevel_quadratics


class Case(NamedTuple):
    """A problem to search.

    Attributes
    ----------
    problem, omega0, bounds
        Arguments of kbo.minimize.
    exact : tuple (method, solver)
        Used to evaluate L at the iterates of any search, and to search for min L.
    value : callable or None
        ω ↦ L, if there is a closed form.
    lowest : float or None
        min L, if it is known.
    """

    problem: Any
    omega0: Any
    bounds: Any
    exact: tuple
    value: Any = None
    lowest: float | None = None


def quadratics(folder, seed):
    """Quadratics of Dagréou et al. (2023): 1,024 samples, θ in R^100, ω in R^10."""
    made = make_bilevel_quadratics(1024, 100, 10, random_state=seed)
    return Case(made.problem, made.omega0, (-50.0, 50.0), (None, None), made.value, made.lowest)


def parkinsons(folder, seed, n=1500, by_patient=False):
    """Kernel ridge regression on Parkinson's (Pedregosa 2016): log lengthscale and log ridge.

    Column 0 numbers 42 patients. With the published random split h need only interpolate within a
    patient. That serves to time searches, but its errors have no meaning. With ``by_patient`` the
    outer sample has other patients than the inner one.
    """
    data = np.loadtxt(Path(folder) / "parkinsons" / "data.csv.gz", delimiter=",")
    random = np.random.default_rng(seed)
    if by_patient:
        patients = random.permutation(np.unique(data[:, 0]))
        inner = np.isin(data[:, 0], patients[: len(patients) // 2])
        sides = [random.permutation(np.flatnonzero(side))[:n] for side in (inner, ~inner)]
        rows, data = np.concatenate(sides), data[:, 1:]
    else:
        rows = random.permutation(len(data))[: 2 * n]
    data = (data[rows] - data[rows[:n]].mean(0)) / data[rows[:n]].std(0)
    x, y = data[:, :-1], data[:, -1]
    problem = kbo.BilevelProblem(
        losses.Squared(), losses.Squared(), kbo.Sample(x[:n], y[:n]), kbo.Sample(x[n:], y[n:]),
        space=lambda w: kbo.RKHS(kbo.kernels.Gaussian(jnp.exp(w["log_lengthscale"]))),
        ridge=lambda w: jnp.exp(w["log_ridge"]),
    )
    start = {"log_lengthscale": np.log(np.sqrt(x.shape[1])), "log_ridge": -1.0}
    low, high = {k: v - 3.0 for k, v in start.items()}, {k: v + 3.0 for k, v in start.items()}
    low["log_ridge"] = -12.0
    return Case(problem, start, (low, high), (kbo.hypergradients.Implicit(), kbo.solvers.Exact()))


def _digits(seed, train, validation):
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    rows = np.random.default_rng(seed).permutation(len(x))[: train + validation]
    x, y = x[rows] / 16.0, y[rows]
    return (x[:train], y[:train]), (x[train:], y[train:])


def _bias(x):
    return jnp.append(x, 1.0)


def digits(folder, seed):
    """Logistic regression on digits with one ridge (Pedregosa 2016)."""
    inner, outer = _digits(seed, 600, 600)
    problem = kbo.BilevelProblem(
        losses.Multinomial(), losses.Multinomial(), kbo.Sample(*inner), kbo.Sample(*outer),
        space=kbo.FeatureSpace(_bias), ridge=lambda w: jnp.exp(w), n_outputs=10,
    )
    return Case(problem, 0.0, (-12.0, 4.0), _newton())


def _newton():
    return kbo.hypergradients.Implicit(), kbo.solvers.Exact()


class PerClass(NamedTuple):
    """The multinomial loss of v_c exp(−ω_c/2): a ridge exp(ω_c) for each class c."""

    def __call__(self, omega, v, t):
        return losses.Multinomial()(omega, v * jnp.exp(-0.5 * omega), t)


def digits_classes(folder, seed):
    """Logistic regression on digits, with a ridge for each of the ten classes."""
    inner, outer = _digits(seed, 600, 600)
    problem = kbo.BilevelProblem(
        PerClass(), PerClass(), kbo.Sample(*inner), kbo.Sample(*outer),
        space=kbo.FeatureSpace(_bias), ridge=1.0, n_outputs=10,
    )
    return Case(problem, np.zeros(10), (-12.0, 4.0), _newton())


def digits_features(folder, seed):
    """Logistic regression on digits, with a ridge for each of the 64 pixels.

    The pixel is scaled by the inverse square root of its ridge.
    """
    inner, outer = _digits(seed, 600, 600)
    problem = kbo.BilevelProblem(
        losses.Multinomial(), losses.Multinomial(), kbo.Sample(*inner), kbo.Sample(*outer),
        space=lambda w: kbo.FeatureSpace(lambda x: jnp.append(x * jnp.exp(-0.5 * w), 1.0)),
        ridge=1e-2, n_outputs=10, penalty=lambda w: 1e-4 * jnp.sum(w**2),
    )
    return Case(problem, np.zeros(64), (-6.0, 6.0), _newton())


class Weighted(NamedTuple):
    """ω ↦ the sample with weights σ(ω_i)."""

    x: Any
    target: Any

    def __call__(self, omega):
        return kbo.Sample(self.x, self.target, jax.nn.sigmoid(omega))


def cleaning(folder, seed, noise=0.5):
    """Data cleaning on digits: half of 600 labels are drawn at random; each has a weight σ(ω_i)."""
    inner, outer = _digits(seed, 600, 400)
    random = np.random.default_rng(seed)
    labels = inner[1].copy()
    spoiled = random.permutation(600)[: int(600 * noise)]
    labels[spoiled] = random.integers(10, size=len(spoiled))
    problem = kbo.BilevelProblem(
        losses.Multinomial(), losses.Multinomial(), Weighted(inner[0], labels),
        kbo.Sample(*outer), space=kbo.FeatureSpace(_bias), ridge=2e-3, n_outputs=10,
        penalty=lambda w: 1e-5 * jnp.sum(w**2),
    )
    return Case(problem, np.zeros(600), (-8.0, 8.0), _newton())


STATES, MARGIN, POINTS = 10, 0.5, 100


def _index(x):
    return jax.nn.one_hot(x[0].astype(int), POINTS, dtype=x.dtype)


def _energy(omega, z, x):
    """A function whose minimum over z ≥ 0 is the equilibrium z = relu(Wz + Ux + b).

    W = (1 − m)I − AᵀA, where m is MARGIN.
    """
    square = MARGIN * jnp.sum(z**2) + jnp.sum((omega["A"] @ z) ** 2)
    return 0.5 * square - z @ (omega["U"] @ x + omega["b"])


def equilibrium(folder, seed):
    """A small deep-equilibrium model (Winston, Kolter 2020).

    Ten states, the two-moons data and a logistic readout.
    """
    from sklearn.datasets import make_moons

    x, y = make_moons(POINTS, noise=0.2, random_state=seed)
    random, labels = np.random.default_rng(seed), 2.0 * y - 1
    points = np.arange(POINTS, dtype=float)[:, None]
    problem = kbo.BilevelProblem(
        _energy, lambda w, z, t: jnp.logaddexp(0, -t * (w["r"] @ z + w["c"])),
        kbo.Sample(points, x), kbo.Sample(points, labels), kbo.FeatureSpace(_index), ridge=0.0,
        penalty=lambda w: 1e-3 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(w)),
        n_outputs=STATES,
    )
    start = {
        "A": 0.3 * random.normal(size=(STATES, STATES)), "U": random.normal(size=(STATES, 2)),
        "b": random.normal(size=STATES), "r": 0.3 * random.normal(size=STATES), "c": 0.0,
    }
    return Case(problem, start, None, (unrolled(300), None))


def unrolled(steps, before=0, warm=False):
    """Fixed-point iterations for the equilibrium: proximal steps of size one fifth."""
    iteration = kbo.optimizers.proximal_gradient(0.2 * POINTS, kbo.regularizers.NonNegative())
    return kbo.hypergradients.Unrolled(steps, iteration, warm_steps=before, warm=warm)


PROBLEMS = {
    "quadratics": quadratics, "parkinsons": parkinsons,
    "parkinsons_patients": functools.partial(parkinsons, by_patient=True), "digits": digits,
    "digits_classes": digits_classes,
    "digits_features": digits_features, "cleaning": cleaning, "equilibrium": equilibrium,
}
