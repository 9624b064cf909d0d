"""Values, gradients, fitted attributes and search histories, recorded to be compared later.

    python -m benchmarks.regression record FILE     before a change
    python -m benchmarks.regression compare FILE    after it: what is equal bit for bit, to
                                                    rounding (1e-8), and what is not

FILE is an .npz of about a thousand arrays from small problems: every kernel, loss, space, solver,
hypergradient method, criterion, optimiser and estimator. Where a combination raises an error, the
type of the error is recorded.
"""

import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax

jax.config.update("jax_enable_x64", True)

from sklearn.datasets import make_classification, make_regression
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
from sklearn.svm import SVC, SVR

import kbo
from kbo import criteria, hypergradients, optimizers, solvers
from tests import helpers
from theory import problems

from ._harness import parser_of

ROUNDING = 1e-8


def evaluations():
    """(name, problem, omega, options) for each single evaluation."""
    everything, folds = helpers.everything_problem, helpers.folds_problem
    for space in helpers.SPACES:
        yield f"space/{space}", *everything(space), {}
    for loss in helpers.LOSSES:
        yield f"loss/{loss}", *everything("gaussian", loss), {}
        yield f"features/{loss}", *everything("features", loss), {}
        for name, solver in {
            "exact": solvers.Exact(), "nystrom": solvers.Nystrom(8), "falkon": solvers.Falkon(8),
            "full_cg": solvers.FullCG(rank=10), "quasi_newton": solvers.QuasiNewton(),
        }.items():
            yield f"folds/{loss}/{name}", *folds(loss), {"solver": solver}
    for name, network in helpers.NETWORKS.items():
        problem, omega = everything()
        solver = solvers.Gradient(20, optimizer=optax.sgd(0.05))
        changes = {"space": network(1)}
        yield f"network/{name}", problem.replace(**changes), omega, {"solver": solver}
    methods = {
        name: hypergradients.Parametric(getattr(hypergradients, name)())
        for name in ("CG", "Direct", "Identity", "Neumann", "NystromInverse", "Shine")
    }
    # Under the name that it had when the first values were recorded.
    methods["LBFGS"] = hypergradients.Parametric(hypergradients.LinearLBFGS())
    methods |= {
        "difference": hypergradients.FiniteDifference(), "min_min": hypergradients.MinMin(),
        "unrolled": hypergradients.Unrolled(5, optax.sgd(0.1)),
        "stochastic": hypergradients.Stochastic(10, 8),
        "penalty": hypergradients.Penalty(),
    }
    methods |= {
        name: getattr(hypergradients, name)() for name in (
            "AmIGO", "BOME", "BSA", "F2SA", "FSLA", "MRBO", "SABA", "SOBA", "SUSTAIN", "TTSA",
            "VRBO", "StocBiO",
        )
    }
    for name, method in methods.items():
        for space in ("features", "gaussian"):
            yield f"method/{name}/{space}", *everything(space), {"method": method}
    x, y, _, _ = helpers.data(30, 1)
    problem, omega = folds("squared")
    whole = problem.replace(inner_data=kbo.Sample(x, y), outer_data=kbo.Sample(x, y))
    for name in ("GCV", "LeaveOut", "MarginalLikelihood", "NystromComplexity"):
        solver = solvers.Nystrom(8) if name == "NystromComplexity" else None
        options = {"method": getattr(criteria, name)(), "solver": solver}
        yield f"criterion/{name}", whole, omega, options


def searches():
    """(name, problem, omega, options) for each search."""
    problem, omega = helpers.folds_problem("squared")
    for name, optimizer in {
        "lbfgs": optimizers.LBFGS(max_steps=6), "hoag": optimizers.HOAG(max_steps=6),
        "descent": optimizers.GradientDescent(0.1, max_steps=6),
        "adam": optimizers.Optax(optax.adam(0.1), max_steps=6),
        "mean": optimizers.Optax(optax.adam(0.1), max_steps=6, average=0.5),
        "random": optimizers.RandomSearch(6), "grid": optimizers.GridSearch(2),
    }.items():
        bounds = (-5.0, 5.0)
        yield f"search/{name}", problem, omega, {"optimizer": optimizer, "bounds": bounds}
    for name, solver in {
        "nystrom": solvers.Nystrom(8), "falkon": solvers.Falkon(8), "full_cg": solvers.FullCG(),
    }.items():
        options = {"optimizer": optimizers.LBFGS(max_steps=4), "solver": solver}
        yield f"search/{name}", *helpers.folds_problem("logistic"), options
    features, omega = helpers.everything_problem("features")
    for name in ("SOBA", "StocBiO", "TTSA"):
        options = {
            "optimizer": optimizers.Optax(optax.sgd(0.01), max_steps=4),
            "method": getattr(hypergradients, name)(),
        }
        yield f"search/{name}", features, omega, options


def estimators():
    """(name, estimator, arguments of fit) for each small fit."""
    X, y = make_regression(60, 4, noise=5.0, random_state=0)
    y2 = np.column_stack([y, np.abs(y)])
    counts = np.floor(np.exp(y / 100))
    regressor = kbo.KernelBilevelRegressor
    for name, changes in {
        "default": {}, "tied": {"ard": False}, "labels": {"ard": [0, 0, 1, 2]},
        "loo": {"criterion": "loo"}, "gcv": {"criterion": "gcv"},
        "likelihood": {"criterion": "marginal_likelihood"},
        "complexity": {"criterion": "complexity", "solver": "nystrom", "n_centers": 20},
        "huber": {"loss": "huber"}, "quantile": {"loss": "quantile", "quantile": 0.8},
        "poisson": {"loss": "poisson"}, "mixture": {"kernel": ["gaussian", "linear"]},
        "groups": {"groups": [0, 0, 1, 1]}, "nystrom": {"solver": "nystrom", "n_centers": 20},
        "falkon": {"solver": "falkon", "n_centers": 20}, "restarts": {"n_restarts": 1},
        "errors": {"standard_errors": True, "ard": False}, "two_outputs": {},
    }.items():
        target = {"poisson": counts, "two_outputs": y2}.get(name, y)
        yield f"regressor/{name}", regressor(max_iter=4, **changes), (X, target)
    for classes in (2, 3):
        data = make_classification(
            60, 4, n_informative=3, n_redundant=0, n_classes=classes, random_state=0
        )
        variants = {"default": {}, "ard": {"ard": True}, "loo": {"criterion": "loo"}}
        for name, changes in variants.items():
            estimator = kbo.KernelBilevelClassifier(max_iter=4, **changes)
            yield f"classifier/{classes}/{name}", estimator, data
        yield f"svc/{classes}", kbo.HypergradientSearchCV(
            SVC(probability=False), {"C": (0.01, 100.0), "gamma": (0.01, 10.0)}, max_iter=4
        ), data
        yield f"logistic/{classes}", kbo.HypergradientSearchCV(
            LogisticRegression(), {"C": (0.01, 100.0)}, max_iter=4
        ), data
    for name, inner, space in (
        ("ridge", Ridge(), {"alpha": (1e-3, 1e3)}),
        ("kernel_ridge", KernelRidge(kernel="rbf"), {"alpha": (1e-3, 1e1), "gamma": (1e-3, 1e1)}),
        ("svr", SVR(), {"C": (0.1, 100.0), "gamma": (0.01, 1.0)}),
        ("process", GaussianProcessRegressor(RBF() + WhiteKernel()),
         {"kernel__k1__length_scale": (0.1, 10.0)}),
        ("elastic_net", ElasticNet(), {"alpha": (1e-3, 1e1)}),
        ("own", kbo.KernelBilevelRegressor(tune=()), {"alpha": (1e-3, 1e1)}),
    ):
        yield f"searched/{name}", kbo.HypergradientSearchCV(inner, space, max_iter=4), (X, y)
    rng = np.random.default_rng(0)
    z, u = rng.normal(size=(80, 1)), rng.normal(size=80)
    t = (z[:, 0] + 0.5 * u)[:, None]
    outcome = np.sin(t[:, 0]) + 0.5 * u + 0.1 * rng.normal(size=80)
    yield "instruments/kernel", kbo.KernelIVRegressor(max_iter=3), (t, outcome, z)
    yield "instruments/two_stage", kbo.TwoStageLeastSquares(), (t, outcome, z)
    functional = kbo.FuncIVRegressor("rkhs", max_iter=3, random_state=0)
    yield "instruments/functional", functional, (t, outcome, z)
    yield "reweighting", kbo.SampleReweightingRegressor(max_iter=3, random_state=0), (X, y)


def arrays_of(value):
    """The numbers of a value, as one flat array."""
    leaves = [leaf for leaf in jax.tree.leaves(value) if not callable(leaf)]
    numbers = [np.ravel(np.asarray(leaf)) for leaf in leaves]
    return np.concatenate([n.astype(float) for n in numbers if n.dtype.kind in "fiub"] or [[]])


def fitted(estimator, arguments):
    """The public attributes that ``fit`` has set, and predictions."""
    estimator.fit(*arguments)
    known = {
        name: value for name, value in vars(estimator).items()
        if name.endswith("_") and not name.startswith("_")
        and isinstance(value, float | int | np.ndarray | list | tuple | dict)
        and "time" not in name and name not in ("history_", "cv_results_")
    }
    known["history"] = [
        getattr(record, "value", record["value"] if isinstance(record, dict) else np.nan)
        for record in getattr(estimator, "history_", [])
    ]
    known["predict"] = estimator.predict(arguments[0])
    return known


def collected():
    """name -> array, for all evaluations, searches and fits."""
    found = {}

    def keep(name, make):
        try:
            parts = make()
        except Exception as error:
            found[f"{name}/{type(error).__name__}"] = np.zeros(0)
            return
        for part, value in parts.items():
            try:
                found[f"{name}/{part}"] = arrays_of(value)
            except (TypeError, ValueError):
                continue
        print(name, flush=True)

    for name, problem, omega, options in evaluations():
        def evaluated(problem=problem, omega=omega, options=options):
            key = jax.random.key(0)
            r = kbo.value_and_hypergradient(problem, omega, throw=False, key=key, **options)
            status = float([*kbo.Status].index(r.status))
            at = jnp.asarray(np.random.default_rng(5).normal(size=(5, helpers.D)))
            solved = [r.residuals.inner < 1e-6, r.residuals.adjoint < 1e-6]
            h = np.asarray(r.inner(at))
            return {"value": r.value, "grad": r.grad, "status": status, "h": h, "solved": solved}
        keep(name, evaluated)
    for name, problem, omega, options in searches():
        def searched(problem=problem, omega=omega, options=options):
            r = kbo.minimize(problem, omega, throw=False, key=jax.random.key(0), **options)
            return {"omega": r.omega, "value": r.value, "history": [s.value for s in r.history],
                    "counts": [r.n_steps, r.n_evaluations, r.n_rejected]}
        keep(name, searched)
    for name, estimator, arguments in estimators():
        keep(name, lambda e=estimator, a=arguments: fitted(e, a))
    for name, make in problems.PROBLEMS.items():
        keep(f"theory/{name}", lambda make=make: dict(zip(
            ("value", "grad"), make().value_and_grad(make().start(1)), strict=True)))
    return found


def compare(old, new):
    """Print the differences; return whether all arrays are equal up to rounding."""
    names = sorted(set(old) | set(new))
    counts = {"bit for bit": 0, "to rounding": 0, "different": 0}
    for name in names:
        if name not in old or name not in new:
            counts["different"] += 1
            print(f"only {'after' if name not in old else 'before'}: {name}")
            continue
        a, b = old[name], new[name]
        if a.shape == b.shape and np.array_equal(a, b, equal_nan=True):
            counts["bit for bit"] += 1
        elif a.shape == b.shape and np.allclose(
            a, b, ROUNDING, ROUNDING * np.abs(a).max(initial=0), equal_nan=True
        ):
            counts["to rounding"] += 1
        else:
            counts["different"] += 1
            error = np.abs(a - b).max() if a.shape == b.shape else f"{a.shape} {b.shape}"
            print(f"different: {name}: {error}")
    print(f"{len(names)} arrays: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return not counts["different"]


def main():
    parser = parser_of(__doc__)
    parser.add_argument("verb", choices=("record", "compare"))
    parser.add_argument("path", metavar="FILE")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    new = collected()
    if args.verb == "record":
        np.savez_compressed(args.path, **new)
        print(f"{len(new)} arrays in {args.path}")
    else:
        with np.load(args.path) as old:
            sys.exit(not compare(dict(old), new))


if __name__ == "__main__":
    main()
