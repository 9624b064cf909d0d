"""The tables over which the tests parametrise, and small problems made of their entries."""

import logging

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import kbo
from kbo import kernels, losses
from kbo.networks import MLP, LastLayer

D = 3

# name -> a function of ω["kernel"] (positive numbers, one per parameter) and that start
KERNELS = {
    "gaussian": (lambda k: kernels.Gaussian(k["l"]), {"l": 1.3}),
    "gaussian_ard": (lambda k: kernels.Gaussian(k["l"]), {"l": np.array([0.8, 1.5, 2.5])}),
    "laplacian": (lambda k: kernels.Laplacian(k["l"]), {"l": np.array([1.5, 2.0, 3.0])}),
    "matern12": (lambda k: kernels.Matern12(k["l"]), {"l": 1.7}),
    "matern32": (lambda k: kernels.Matern32(k["l"]), {"l": 1.4}),
    "matern52": (lambda k: kernels.Matern52(k["l"]), {"l": np.array([1.0, 1.6, 2.0])}),
    "rational_quadratic": (
        lambda k: kernels.RationalQuadratic(k["l"], k["a"]), {"l": 1.2, "a": 0.8},
    ),
    "linear": (lambda k: kernels.Linear(k["l"], k["c"]), {"l": 1.5, "c": 0.5}),
    "polynomial": (lambda k: kernels.Polynomial(2, k["l"], k["c"]), {"l": 2.0, "c": 1.0}),
    "periodic": (lambda k: kernels.Periodic(k["l"], k["p"]), {"l": 1.5, "p": 4.0}),
    "sum_scaled": (
        lambda k: k["s"] * kernels.Gaussian(k["l"]) + 0.3 * kernels.Linear(),
        {"s": 0.7, "l": 1.1},
    ),
    "product": (
        lambda k: kernels.Gaussian(k["l"]) * kernels.Periodic(1.0, k["p"]), {"l": 2.0, "p": 3.0},
    ),
    "on_features": (
        lambda k: k["s"] * kernels.OnFeatures(kernels.Gaussian(k["l"]), (2, 0))
        + kernels.OnFeatures(kernels.Linear(), (1,)),
        {"s": 0.7, "l": np.array([1.1, 2.0])},
    ),
    "composed": (
        lambda k: kernels.Composed(kernels.Gaussian(k["l"]), lambda x: jnp.tanh(k["c"] * x)),
        {"l": 1.3, "c": 0.8},
    ),
    "warped": (
        lambda k: kernels.Warped(kernels.Matern32(k["l"]), 0.1, np.array([1.0, 0.5, 0.0]), k["b"]),
        {"l": 1.3, "b": np.array([0.6, 1.4, 1.0])},
    ),
    "callable": (
        lambda k: (lambda x, z: jnp.exp(-0.5 * jnp.sum((x - z) ** 2) / k["l"] ** 2)), {"l": 1.3},
    ),
}

# name -> (loss with a parameter read from ω["loss"] where it has one, target maker, n_outputs)
LOSSES = {
    "squared": (losses.Squared(), lambda t: t, None),
    "squared_vector": (losses.Squared(), lambda t: np.stack([t, t**2], 1), 2),
    "squared_per_output": (
        losses.SquaredPerOutput(lambda w: w["loss"] * jnp.array([1.0, 5.0])),
        lambda t: np.stack([t, t**2], 1), 2,
    ),
    "logistic": (losses.Logistic(), lambda t: np.sign(t + 0.1), None),
    "multinomial": (losses.Multinomial(), lambda t: np.digitize(t, [-0.4, 0.4]), 3),
    "huber": (losses.Huber(delta=lambda w: w["loss"]), lambda t: t, None),
    "poisson": (losses.Poisson(), lambda t: np.floor(np.exp(t)), None),
    "quantile": (
        losses.SmoothQuantile(0.7, width=lambda w: w["loss"]), lambda t: t, None,
    ),
    "scaled": (
        losses.ScaledLoss(losses.Logistic(), scale=lambda w: w["loss"]),
        lambda t: np.sign(t + 0.1), None,
    ),
    "squared_to": (losses.SquaredTo(lambda w, t: w["loss"] * t), lambda t: t, None),
    "callable": (
        lambda w, v, t: jnp.log(jnp.cosh(w["loss"] * (v - t))), lambda t: t, None,
    ),
}

# name -> (a function of ω["kernel"] to a space that Exact knows, that start)
SPACES = {
    name: (lambda k, make=make: kbo.RKHS(make(k)), start)
    for name, (make, start) in KERNELS.items()
} | {
    "features": (
        lambda k: kbo.FeatureSpace(lambda x: jnp.concatenate([x / k["l"], x**2])), {"l": 1.5},
    ),
}
# name -> a space of networks to put in the place of any other
NETWORKS = {
    "mlp": lambda p: kbo.NeuralSpace(MLP((8,))),
    "normalised": lambda p: kbo.NeuralSpace(MLP((8, 8), layer_norm=True, spectral_norm=True)),
    "two_kinds": lambda p: kbo.NeuralSpace(MLP((8,)), adjoint=MLP((6, 6), "tanh")),
    "module": lambda p: kbo.NeuralSpace(eqx.nn.MLP(D, p, 8, 1, key=jax.random.key(0))),
    "pair": lambda p: kbo.NeuralSpace((
        lambda key, x: jax.random.normal(key, (p, D + 1)) / 3,
        lambda W, x: W[:, :-1] @ jnp.tanh(x) + W[:, -1],
    )),
    "solved": lambda p: kbo.NeuralSpace(LastLayer(MLP((8,)), 5)),
    "solved_h": lambda p: kbo.NeuralSpace(LastLayer(MLP((8,)), 5), adjoint=MLP((8,))),
    "sobolev": lambda p: kbo.NeuralSpace(MLP((8,)), inner_product=kbo.spaces.Sobolev(0.1)),
    "last_layer": lambda p: kbo.NeuralFeatures(MLP((8,)), 6),
    "deep_kernel": lambda p: kbo.NeuralFeatures(MLP((8,)), 2, kernels.Gaussian(1.0)),
}


def data(n=24, m=17, seed=0, d=D):
    """Inner points and targets, outer points and targets."""
    rng = np.random.default_rng(seed)
    x, x_out = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    f = lambda z: np.sin(z.sum(1)) + 0.3 * z[:, 0]
    return x, f(x) + 0.1 * rng.normal(size=n), x_out, f(x_out)


def everything_problem(space="gaussian", loss="squared", n=24, m=17, seed=0):
    """ω = loss parameter, log ridge, kernel parameters, four weights and two inputs at once."""
    x, t, x_out, y = data(n, m, seed)
    inner_loss, make, p = LOSSES[loss]
    make_space, start = SPACES[space]
    outer_loss = inner_loss if p else losses.Squared()
    problem = kbo.BilevelProblem(
        inner_loss=inner_loss,
        outer_loss=outer_loss,
        inner_data=lambda w: kbo.Sample(
            jnp.asarray(x).at[:2].add(w["shift"]), make(t),
            jnp.ones(n).at[:4].set(jnp.exp(w["log_weights"])),
        ),
        outer_data=kbo.Sample(x_out, make(y)),
        space=lambda w: make_space(w["kernel"]),
        ridge=lambda w: jnp.exp(w["log_ridge"]),
        penalty=lambda w: 0.01 * jnp.sum(w["shift"] ** 2),
        n_outputs=p,
    )
    rng = np.random.default_rng(seed + 1)
    omega = {
        "loss": 0.6,
        "log_ridge": -3.0,
        "kernel": start,
        "log_weights": 0.3 * rng.normal(size=4),
        "shift": 0.05 * rng.normal(size=(2, D)),
    }
    return problem, omega


def fold_weights(n, folds=3):
    """(train, test) weights (F, n) of contiguous folds."""
    train = np.ones((folds, n))
    for f, rows in enumerate(np.array_split(np.arange(n), folds)):
        train[f, rows] = 0
    return train, 1 - train


def folds_problem(loss="squared", n=30, folds=3, seed=0):
    """Cross-validation as replicates; ω = log lengthscales and log ridge."""
    x, t, _, _ = data(n, 1, seed)
    inner_loss, make, p = LOSSES[loss]
    train, test = fold_weights(n, folds)
    problem = kbo.BilevelProblem(
        inner_loss=inner_loss, outer_loss=inner_loss if p else losses.Squared(),
        inner_data=kbo.Sample(x, make(t), train), outer_data=kbo.Sample(x, make(t), test),
        space=lambda w: kbo.RKHS(kernels.Gaussian(jnp.exp(w["log_l"]))),
        ridge=lambda w: jnp.exp(w["log_ridge"]), n_outputs=p,
    )
    return problem, {"log_l": np.zeros(D), "log_ridge": -3.0, "loss": 0.6}


# Solvers that come to the solution of folds_problem() in the whole RKHS, however they go:
# name -> (solver, method that it needs, relative error of the gradient)
ALL_POINTS = data(30, 1)[0]
SOLVERS = {
    "exact": (kbo.solvers.Exact(), None, 1e-12),
    "exact_tight": (kbo.solvers.Exact(max_newton=50, tol=1e-13), None, 1e-9),
    "auto": (kbo.solvers.Auto(), None, 1e-12),
    "full_cg": (kbo.solvers.FullCG(rank=10, tol=1e-13), None, 1e-8),
    "nystrom": (kbo.solvers.Nystrom(ALL_POINTS), None, 1e-7),
    "falkon": (kbo.solvers.Falkon(ALL_POINTS, tol=1e-12, loose=0.0), None, 1e-7),
    "falkon_library": (kbo.solvers.FalkonLibrary(ALL_POINTS, tol=1e-12), None, 1e-7),
    "quasi_newton": (
        kbo.solvers.QuasiNewton(max_steps=20_000, tol=1e-11),
        kbo.hypergradients.Parametric(kbo.hypergradients.Direct()), 1e-4,
    ),
}
HYPERGRADIENTS = {
    "implicit": kbo.hypergradients.Implicit(),
    "finite_difference": kbo.hypergradients.FiniteDifference(),
    "second_order_difference": kbo.hypergradients.FiniteDifference(step=1e-5, order=2),
    "parametric": kbo.hypergradients.Parametric(kbo.hypergradients.CG(500)),
    "parametric_direct": kbo.hypergradients.Parametric(kbo.hypergradients.Direct()),
    "stochastic": kbo.hypergradients.Stochastic(),
    "mean": kbo.hypergradients.Mean(()),  # of the problem twice, which the test puts in
}
# In finite dimension: name -> (method, relative error, the solver that it needs)
PARAMETRIC = {
    "cg": (kbo.hypergradients.Parametric(kbo.hypergradients.CG(50)), 1e-7, None),
    "direct": (kbo.hypergradients.Parametric(kbo.hypergradients.Direct()), 1e-7, None),
    "lbfgs": (
        kbo.hypergradients.Parametric(kbo.hypergradients.LinearLBFGS(200)), 1e-5, None,
    ),
    "neumann": (
        kbo.hypergradients.Parametric(kbo.hypergradients.Neumann(4000, 0.2)), 1e-5, None,
    ),
    "nystrom_inverse": (
        kbo.hypergradients.Parametric(kbo.hypergradients.NystromInverse(100, 1e-9)), 1e-4, None,
    ),
    "shine": (
        kbo.hypergradients.Parametric(kbo.hypergradients.Shine(refine=50)), 1e-4,
        kbo.solvers.QuasiNewton(max_steps=500, tol=1e-10),
    ),
    "identity": (kbo.hypergradients.Parametric(kbo.hypergradients.Identity()), np.inf, None),
    "unrolled": (kbo.hypergradients.Unrolled(4000, optax.sgd(0.2)), 1e-5, None),
    "min_min": (kbo.hypergradients.MinMin("implicit", 4000, optax.sgd(0.2)), 1e-5, None),
}
# Each makes its steps with these settings on the quadratics of make_bilevel_quadratics.
STEPPERS = {
    "soba": kbo.hypergradients.SOBA(0.3), "saba": kbo.hypergradients.SABA(0.3),
    "amigo": kbo.hypergradients.AmIGO(0.3), "fsla": kbo.hypergradients.FSLA(0.3),
    "f2sa": kbo.hypergradients.F2SA(0.3), "bome": kbo.hypergradients.BOME(0.3),
    "stocbio": kbo.hypergradients.StocBiO(0.3), "bsa": kbo.hypergradients.BSA(0.3),
    "ttsa": kbo.hypergradients.TTSA(0.3), "mrbo": kbo.hypergradients.MRBO(0.3),
    "vrbo": kbo.hypergradients.VRBO(0.3), "sustain": kbo.hypergradients.SUSTAIN(0.3),
    "stfbo": kbo.hypergradients.STFBO(),
    "penalty": kbo.hypergradients.Penalty(0.1, penalty=10.0),
}
def half_square(omega):
    """½‖ω‖²: the prior of standard normal numbers."""
    return 0.5 * sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(omega))


# Outer losses of all predictions at once.
JOINTS = {"readout": kbo.losses.Readout(lambda w: jnp.exp(w["log_ridge"]))}
CRITERIA = {
    "leave_out": kbo.criteria.LeaveOut(), "gcv": kbo.criteria.GCV(),
    "marginal_likelihood": kbo.criteria.MarginalLikelihood(),
    "regularized": kbo.criteria.Regularized(kbo.criteria.GCV(), half_square, 50.0),
    "regularized_nats": kbo.criteria.Regularized(
        kbo.criteria.MarginalLikelihood(), half_square, 50.0, "nats"
    ),
}


def flat(tree):
    """All leaves of a pytree in one vector."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def logistic_regression(noise=2.0, n=200, d=10, seed=0):
    """ω = log ridge of logistic regression; the best one lies inside [−8, 4]."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(2 * n, d)), rng.normal(size=d)
    t = np.sign(x @ w / np.sqrt(d) + noise * rng.normal(size=2 * n))
    problem = kbo.BilevelProblem(
        kbo.losses.Logistic(), kbo.losses.Logistic(), kbo.Sample(x[:n], t[:n]),
        kbo.Sample(x[n:], t[n:]), kbo.FeatureSpace(lambda x: x), lambda w: jnp.exp(w),
    )
    return problem, (-8.0, 4.0)


def central(value, omega, step=1e-5):
    return np.array([
        (value(omega + step * e) - value(omega - step * e)) / (2 * step) for e in np.eye(len(omega))
    ])


def compilations(run):
    """How often each jitted function is compiled while ``run`` runs."""
    found = {}

    class Count(logging.Handler):
        def emit(self, record):
            message = record.getMessage()
            if message.startswith("Finished XLA compilation of jit(_"):
                name = message.split("jit(")[1].split(")")[0]
                found[name] = found.get(name, 0) + 1

    handler, logger = Count(), logging.getLogger("jax")
    logger.addHandler(handler)
    try:
        with jax.log_compiles():
            run()
    finally:
        logger.removeHandler(handler)
    return found
