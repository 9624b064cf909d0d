"""Searches compared: grid, halving, random, Bayesian, Gaussian process, himalaya, falkon, kbo.

    python -m benchmarks.compare [FOLDER] [--sets diabetes concrete …] [--splits 0 1 …]
        [--searches himalaya …] [--falkon-python PYTHON]

diabetes comes with scikit-learn. FOLDER holds the UCI sets as for tuning.py, cut to 1,500 training
rows; bike is without the two columns whose sum is its target (the committed table is without bike).

The model is kernel ridge regression with one lengthscale and five folds. GridSearchCV (63 points),
HalvingGridSearchCV, RandomizedSearchCV and optuna (60 evaluations each), with two workers and the
same ranges of alpha and gamma, are compared with HypergradientSearchCV. Other models are
KernelBilevelRegressor (ARD), GaussianProcessRegressor (ARD), himalaya's MultipleKernelRidgeCV over
nine Gaussian kernels and falkon.hopt's HoldOut, where they are installed.

Every search is a process of its own and runs twice (except the Gaussian process, himalaya and
falkon): "s" is the second time, "first" includes compilation or the start of workers. Searches that
take over 150 s are left out. "CV" is the mean squared error over the folds at the final point,
whatever the search itself minimised. "reached" is the time at which HypergradientSearchCV had that
CV. Kernel values and factorisations are computed from the numbers of evaluations. Writes
results/compare.json, compare.md and compare.png.
"""

import json
import sys
import time
import warnings

import numpy as np

from . import tuning
from ._harness import RESULTS, fresh, parser_of, pyplot, write_figure, write_results, write_text
from .large_tuning import falkon_fit

SETS = ("diabetes", "concrete", "airfoil", "energy", "pol", "bike", "kin40k")
ALPHA, GAMMA, EVALUATIONS, FOLDS = (1e-5, 1e1), (1e-3, 1e1), 60, 5
TIME_LIMIT = 150


def load(folder, name, split):
    if name != "diabetes":
        return tuning.load(folder, name, split=split)[:4]
    from sklearn.datasets import load_diabetes
    from sklearn.model_selection import train_test_split

    table = np.column_stack(load_diabetes(return_X_y=True))
    train, test = train_test_split(table, random_state=split)
    train, test = ((part - train.mean(0)) / train.std(0) for part in (train, test))
    return train[:, :-1], train[:, -1], test[:, :-1], test[:, -1]


class Clock:
    """Points that a search reports, each with its seconds since the start."""

    def __init__(self):
        self.started, self.points = time.perf_counter(), []

    def __call__(self, params, criterion):
        self.points.append((time.perf_counter() - self.started, criterion, params))


def settings():
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.model_selection import KFold

    return KernelRidge(kernel="rbf"), KFold(FOLDS), "neg_mean_squared_error"


def grid_of(d):
    return {"alpha": np.geomspace(*ALPHA, 7), "gamma": np.geomspace(*GAMMA, 9) / d}


def from_results(search, clock):
    """Record the points of a search, with times in proportion to those of each candidate's fits."""
    found = search.cv_results_
    share = np.cumsum(found["mean_fit_time"] + found["mean_score_time"])
    total = time.perf_counter() - clock.started - search.refit_time_
    clock.points = [
        (float(t), float(-score), params) for t, score, params in
        zip(total * share / share[-1], found["mean_test_score"], found["params"], strict=True)
    ]
    return search.best_estimator_


def run_grid(X, y, clock):
    from sklearn.model_selection import GridSearchCV

    model, cv, scoring = settings()
    search = GridSearchCV(model, grid_of(X.shape[1]), cv=cv, scoring=scoring, n_jobs=2)
    return from_results(search.fit(X, y), clock), [(len(X), 63)]


def run_halving(X, y, clock):
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingGridSearchCV

    model, cv, scoring = settings()
    search = HalvingGridSearchCV(
        model, grid_of(X.shape[1]), cv=cv, scoring=scoring, n_jobs=2, random_state=0
    ).fit(X, y)
    rounds = list(zip(search.n_resources_, search.n_candidates_, strict=True))
    return from_results(search, clock), rounds


def run_random(X, y, clock):
    from scipy.stats import loguniform
    from sklearn.model_selection import RandomizedSearchCV

    model, cv, scoring = settings()
    low, high = np.array(GAMMA) / X.shape[1]
    space = {"alpha": loguniform(*ALPHA), "gamma": loguniform(low, high)}
    search = RandomizedSearchCV(
        model, space, n_iter=EVALUATIONS, cv=cv, scoring=scoring, n_jobs=2, random_state=0
    ).fit(X, y)
    return from_results(search, clock), [(len(X), EVALUATIONS)]


def run_bayes(X, y, clock):
    import optuna
    from sklearn.base import clone
    from sklearn.model_selection import cross_val_score

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    model, cv, scoring = settings()
    low, high = np.array(GAMMA) / X.shape[1]

    def objective(trial):
        params = {
            "alpha": trial.suggest_float("alpha", *ALPHA, log=True),
            "gamma": trial.suggest_float("gamma", low, high, log=True),
        }
        candidate = clone(model).set_params(**params)
        error = -cross_val_score(candidate, X, y, cv=cv, scoring=scoring, n_jobs=2).mean()
        clock(params, error)
        return error

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=EVALUATIONS)
    return clone(model).set_params(**study.best_params).fit(X, y), [(len(X), EVALUATIONS)]


def run_kbo(X, y, clock):
    import kbo

    model, cv, scoring = settings()
    low, high = np.array(GAMMA) / X.shape[1]
    search = kbo.HypergradientSearchCV(
        model, {"alpha": ALPHA, "gamma": (low, high)}, cv=cv, scoring=scoring, n_jobs=2,
        callback=lambda row: clock(row["params"], 2 * row["outer_loss"]),
    ).fit(X, y)
    rows = len(search.cv_results_["params"])
    gradients = (len(X), search.n_evaluations_)
    return search.best_estimator_, [(len(X), rows)], gradients


def run_ard(X, y, clock):
    from sklearn.model_selection import KFold

    import kbo

    model = kbo.KernelBilevelRegressor(
        cv=KFold(FOLDS), prior=0.0, callback=lambda step: clock({}, 2 * step["value"])
    ).fit(X, y)
    return model, [], (len(X), model.n_evaluations_)


def run_gp(X, y, clock):
    return tuning.gp_model(X.shape[1], None).fit(X, y), []


class Himalaya:
    """MultipleKernelRidgeCV on nine Gaussian kernels, as an estimator that takes points."""

    def __init__(self, X, y):
        from himalaya.kernel_ridge import MultipleKernelRidgeCV

        self.X, self.gammas = X, grid_of(X.shape[1])["gamma"]
        self.model = MultipleKernelRidgeCV(
            kernels="precomputed", solver="random_search", cv=settings()[1], random_state=0,
            solver_params={"n_iter": EVALUATIONS, "alphas": grid_of(1)["alpha"], "progress_bar": 0},
        ).fit(self._kernels(X), y)

    def _kernels(self, points):
        from sklearn.metrics.pairwise import rbf_kernel

        return np.stack([rbf_kernel(points, self.X, gamma=g) for g in self.gammas])

    def predict(self, points):
        return self.model.predict(self._kernels(points))


def run_himalaya(X, y, clock):
    return Himalaya(X, y), []


def run_falkon(X, y, clock):
    class Fitted:
        def predict(self, points):
            return falkon_fit(X, y, points, "float32")

    return Fitted(), []


SEARCHES = {
    "GridSearchCV": run_grid, "HalvingGridSearchCV": run_halving, "RandomizedSearchCV": run_random,
    "optuna": run_bayes, "HypergradientSearchCV": run_kbo, "KernelBilevelRegressor": run_ard,
    "GaussianProcessRegressor": run_gp, "himalaya": run_himalaya, "falkon.hopt": run_falkon,
}
OTHER_MODELS = ("KernelBilevelRegressor", "GaussianProcessRegressor", "himalaya", "falkon.hopt")


def counts(rounds, gradients):
    """Numbers of kernel values and factorisations in cross-validated fits and in hypergradients."""
    values = sum(FOLDS * k * (n * (FOLDS - 1) / FOLDS) * n for n, k in rounds)
    factorisations = sum(FOLDS * k for _, k in rounds)
    for n, k in gradients:
        values, factorisations = values + k * n * n, factorisations + FOLDS * k
    return values, factorisations


def fit(folder, name, split, search):
    """The result of one search."""
    warnings.simplefilter("ignore")
    from sklearn.base import clone
    from sklearn.model_selection import cross_val_score

    X, y, X_test, y_test = load(folder, name, split)
    run, seconds = SEARCHES[search], []
    for _ in range(1 if search in OTHER_MODELS[1:] else 2):
        clock = Clock()
        model, rounds, *gradients = run(X, y, clock)
        if search == "falkon.hopt":
            predicted = model.predict(X_test)
        seconds.append(time.perf_counter() - clock.started)
    if search != "falkon.hopt":
        predicted = model.predict(X_test)
    error = lambda p: float(np.sqrt(np.mean((np.ravel(p) - y_test) ** 2)))
    found = {"seconds": seconds, "rmse": error(predicted), "n": len(X), "d": X.shape[1]}
    if search not in OTHER_MODELS:
        _, cv, scoring = settings()
        found["cv"] = -float(cross_val_score(clone(model), X, y, cv=cv, scoring=scoring).mean())
        found["counts"] = counts(rounds, gradients)
        found["curve"], best = [], np.inf
        for t, criterion, params in clock.points:
            if criterion < best:
                best = criterion
                refit = clone(model).set_params(**params).fit(X, y)
                found["curve"].append((t, criterion, error(refit.predict(X_test))))
    elif search == "KernelBilevelRegressor":
        found["cv"], found["counts"] = 2 * model.criterion_, counts([], gradients)
        found["curve"] = [(seconds[-1], found["cv"], found["rmse"])]
    return found


def measured(python, folder, name, split, search):
    """``fit`` in a process of its own; None if a package is missing or it takes too long."""
    try:
        return fresh(fit, folder, name, split, search, limit=TIME_LIMIT, python=python)
    except ModuleNotFoundError as error:
        print(f"{search}: {error}", flush=True)
        return None


def table(title, found):
    """Rows for "SET, split K", with the times kbo takes to reach what each rival ended with."""
    name, split = title.split(", split ")
    ours = found["HypergradientSearchCV"]
    rows = []
    for search, result in found.items():
        row = {"set": name, "split": int(split)}
        row |= {"n": result["n"], "d": result["d"], "search": search}
        several = len(result["seconds"]) > 1
        row["first s"] = f"{result['seconds'][0]:.2f}" if several else "–"
        row["s"] = f"{result['seconds'][-1]:.2f}"
        row["CV"] = f"{result['cv']:.5f}" if "cv" in result else "–"
        row["test RMSE"] = f"{result['rmse']:.4f}"
        row["reached"] = row["reached / s"] = "–"
        if search not in ("HypergradientSearchCV", *OTHER_MODELS):
            times = [t for t, cv, _ in ours["curve"] if cv <= result["cv"] * (1 + 1e-9)]
            row["reached"] = f"{times[0]:.2f}" if times else "never"
            row["reached / s"] = f"{times[0] / result['seconds'][-1]:.2f}" if times else "–"
        values, factorisations = result.get("counts", (None, None))
        row["kernel values"] = "–" if values is None else f"{values:.2e}"
        row["factorisations"] = "–" if values is None else factorisations
        rows.append(row)
    return rows


def draw(everything):
    """Plot the best test RMSE so far against time, in a panel for each set."""
    names = list(everything)
    figure, axes = pyplot().subplots(
        2, -(-len(names) // 2), figsize=(4 * -(-len(names) // 2), 6.4), layout="constrained"
    )
    for ax, name in zip(axes.flat, names, strict=False):
        for search, found in everything[name].items():
            curve = found.get("curve") or [(found["seconds"][-1], None, found["rmse"])]
            t, rmse = [p[0] for p in curve], [p[2] for p in curve]
            ax.plot([*t, found["seconds"][-1]], [*rmse, rmse[-1]], "o-", ms=3,
                    color=f"C{list(SEARCHES).index(search)}",
                    drawstyle="steps-post", label=search)
        ax.set(title=name, xscale="log", yscale="log", xlabel="seconds", ylabel="test RMSE")
    for ax in axes.flat[len(names):]:
        ax.axis("off")
    axes.flat[0].legend(fontsize=6)
    write_figure("compare", figure, dpi=110)


def main():
    parser = parser_of(__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--sets", nargs="+", choices=SETS)
    parser.add_argument("--splits", nargs="+", type=int, default=[0])
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=list(SEARCHES),
                        help="run these anew, and keep what is known of the others, as for --sets")
    parser.add_argument("--falkon-python", help="an interpreter that has falkon and scikit-learn")
    args = parser.parse_args()
    names = args.sets or (SETS if args.folder else SETS[:1])
    known = RESULTS / "compare_curves.json"
    everything = {}
    if known.exists() and (args.sets or len(args.searches) < len(SEARCHES)):
        everything = json.loads(known.read_text())
    for name, split in [(name, split) for name in names for split in args.splits]:
        title = f"{name}, split {split}"
        everything.setdefault(title, {})
        for search in args.searches:
            everything[title].pop(search, None)
            python = args.falkon_python if search == "falkon.hopt" else sys.executable
            found = python and measured(python, args.folder, name, split, search)
            if found:
                everything[title][search] = found
                print(title, search, found["seconds"], found.get("cv"), found["rmse"], flush=True)
        rows = [row for each in everything for row in table(each, everything[each])]
        write_results("compare", rows)
        write_text(known, json.dumps(everything))
        draw(everything)


if __name__ == "__main__":
    main()
