"""Methods of bilevel optimisation compared on equal terms: problems × methods × seeds.

    python -m benchmarks.bilevel [--data FOLDER] [--problems quadratics digits …] [--methods …]
        [--seeds 3] [--seconds 5] [--store FOLDER] [--report] [--name bilevel]

The problems are those of bilevel_problems.py. parkinsons needs FOLDER, as for tuning.py; with its
random split a model interpolates within patients, so that parkinsons_patients is split by patient.

Every run is a process of its own with BLAS on one thread, limited to --seconds after a warm-up that
compiles. A finished run is a file in the store and is not run again: give another store after a
change. L at the iterates is evaluated afterwards, exactly. Suboptimality is (L − min L)/(L(ω0) −
min L), where min L is known, or is the lowest value that any search of the problem found, including
a long one by L-BFGS with exact hypergradients. Step sizes were chosen by hand on seed 0, among
powers of √10; QuasiNewton's ``loose`` on seed 0 of the digits problems, among 1e-1 … 1e-5. "kbo,
default" is given neither.

Costs are counted in passes over the inner sample: gradients of J, and products with its second
derivatives. Methods that solve a linear system by factorisation have none. Writes
results/bilevel.json, bilevel.md, bilevel_curves.png and bilevel_profiles.png.

In the committed table, quadratics (on two idle cores) and the single loops of digits_features and
cleaning come from earlier runs. The rest ran on one core, with other jobs on the other core.
parkinsons_patients ran on a busy machine for 40 s each and is not in the pictures. The table states
the number of seeds. "kbo, default", and the quadratics with five seeds, have tables of their own.
"""

import os
import warnings

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

import jax
import numpy as np
import optax

import kbo
from kbo.hypergradients import (
    BOME,
    BSA,
    CG,
    F2SA,
    FSLA,
    MRBO,
    SABA,
    SOBA,
    STFBO,
    SUSTAIN,
    TTSA,
    VRBO,
    AmIGO,
    Identity,
    Implicit,
    Parametric,
    Penalty,
    Shine,
    StocBiO,
    Unrolled,
)
from kbo.optimizers import HOAG, LBFGS, BayesianSearch, GridSearch, Optax, RandomSearch
from kbo.solvers import Exact, QuasiNewton

from ._harness import fresh, parser_of, peak_memory, pyplot, stored, write_figure, write_results
from .bilevel_problems import PROBLEMS, unrolled

jax.config.update("jax_enable_x64", True)

LEVELS = (1e-1, 1e-2, 1e-3)
POINTS = 60  # points of a curve, at most
BATCH = 64
MANY = 10**6  # steps: a run ends when its time is up


def decaying(rate, after=1000):
    """rate/√(1 + t/after)."""
    return lambda count: rate / (1 + count / after) ** 0.5


def by_gradient():
    """Outer steps along gradients of solved inner problems."""
    hoag = HOAG(tol=1e-9, max_steps=MANY)
    return {
        "kbo (Implicit, L-BFGS)": (Implicit(), LBFGS(tol=1e-9), Exact()),
        "AID-CG, L-BFGS": (
            Parametric(CG(200)), LBFGS(tol=1e-9), QuasiNewton(tol=1e-8, memory=60, loose=1e-3)
        ),
        "HOAG": (Parametric(CG(500)), hoag, QuasiNewton(memory=60)),
        "SHINE": (Parametric(Shine()), hoag, QuasiNewton(memory=60)),
        "SHINE, refined": (Parametric(Shine(5)), hoag, QuasiNewton(memory=60)),
        "SHINE-OPA": (Parametric(Shine()), hoag, QuasiNewton(memory=60, prescribe=2)),
        "Jacobian-free": (Parametric(Identity()), hoag, QuasiNewton(memory=60)),
    }


def black_box(grid, solver):
    """Searches that use values only."""
    method = Parametric()
    return {
        "grid": (method, GridSearch(grid), solver),
        "random": (method, RandomSearch(MANY), solver),
        "Bayesian": (method, BayesianSearch(300), solver),
    }


def loops(inner, outer, series=None, sizes=(BATCH, BATCH)):
    """Methods in which θ moves along with ω: one rate for θ, one for ω."""
    slow, neumann = decaying(inner), {"terms": 40, "series_rate": series or inner}
    sgd = lambda rate: Optax(optax.sgd(rate), max_steps=MANY, tol=0.0)
    fixed, falls = sgd(outer), sgd(decaying(outer))
    return {
        "SOBA": (SOBA(slow, *sizes), falls, None),
        "SABA": (SABA(inner, *sizes), fixed, None),
        "AmIGO": (AmIGO(slow, *sizes), falls, None),
        "FSLA": (FSLA(slow, *sizes), falls, None),
        "BSA": (BSA(slow, *sizes, **neumann), falls, None),
        "TTSA": (TTSA(slow, *sizes, **neumann), sgd(decaying(0.3 * outer, 300)), None),
        "StocBiO": (StocBiO(slow, *sizes, **neumann), falls, None),
        "MRBO": (MRBO(slow, *sizes, **neumann), falls, None),
        "SUSTAIN": (SUSTAIN(slow, *sizes, **neumann), falls, None),
        "VRBO": (VRBO(0.3 * inner, *sizes, steps=3, **neumann), sgd(0.3 * outer), None),
        "F2SA": (F2SA(slow, *sizes, multiplier=lambda k: 1 + 0.03 * k), falls, None),
        "BOME": (BOME(slow, steps=20), sgd(slow), None),
        "Penalty": (Penalty(0.01, *sizes, penalty=10.0), falls, None),
        "ITD": (Unrolled(10, optax.sgd(inner)), fixed, None),
        "S-TFBO": (STFBO(), sgd(1.0), None),
        "AID, warm": (AmIGO(inner, steps=10, adjoint_steps=10), fixed, None),
    }


def equilibria():
    """Derivatives through all fixed-point iterations, through the last few, or through one."""
    adam = Optax(optax.adam(0.03), max_steps=MANY, tol=0.0)
    return {
        "ITD, 100 steps, L-BFGS": (unrolled(100), LBFGS(tol=1e-9), None),
        "ITD, 30 steps": (unrolled(30, warm=True), adam, None),
        "ITD, last 5": (unrolled(5, 25, warm=True), adam, None),
        "Jacobian-free": (unrolled(1, 29, warm=True), adam, None),
    }


def kernel_ridge():
    return {
        "kbo (Implicit, L-BFGS)": (Implicit(), LBFGS(tol=1e-9), Exact()),
        "kbo, first on parts": (Implicit(), LBFGS(tol=1e-9, parts=(1 / 8, 1 / 2)), Exact()),
        "HOAG": (Implicit(), HOAG(tol=1e-9, max_steps=MANY), Exact()),
        "AID-CG": (Parametric(CG(200)), LBFGS(tol=1e-9), Exact()),
        **black_box(12, Exact()),
    }


def methods(problem):
    """name ↦ (method, optimizer, solver), for one problem; None is what kbo.minimize chooses."""
    default = {"kbo, default": (None, None, None)}
    if problem == "quadratics":  # whose loss is strongly convex in θ and needs no ridge
        default = {"kbo, default": (Parametric(), None, QuasiNewton())}
    elif problem == "equilibrium":  # not a minimum, but a fixed point
        default = {}
    return default | {
        "quadratics": lambda: loops(0.1, 0.1, 0.3),
        "parkinsons": kernel_ridge, "parkinsons_patients": kernel_ridge,
        "digits": lambda: by_gradient() | black_box(100, QuasiNewton(tol=1e-8, memory=60)),
        "digits_classes": lambda: by_gradient() | {
            name: black_box(2, QuasiNewton(tol=1e-8, memory=60))[name]
            for name in ("random", "Bayesian")
        },
        "digits_features": lambda: by_gradient() | loops(0.1, 3.0, sizes=(60, 60)),
        "cleaning": lambda: by_gradient() | loops(0.1, 30.0, sizes=(60, 50)),
        "equilibrium": equilibria,
    }[problem]()


# One run, in its own process


def run(problem, name, seed, seconds, data):
    """The curve of one method: rows (seconds, evaluations, gradients, products, L)."""
    warnings.simplefilter("ignore")
    case = PROBLEMS[problem](data, seed)
    method, optimizer, solver = methods(problem)[name]
    go = lambda limit, **more: kbo.minimize(
        case.problem, case.omega0, method=method, optimizer=optimizer, solver=solver,
        bounds=case.bounds, throw=False, max_time=limit, **more,
    )
    go(None, callback=lambda record: record.step >= 2)  # compiles
    found = go(seconds)
    history = found.history
    chosen = np.unique(np.geomspace(1, len(history), POINTS).astype(int)) - 1 if history else []
    rows = []
    memory = peak_memory()
    for k in chosen:
        record = history[k]
        rows.append((
            record.seconds, record.evaluations, record.cost.gradients, record.cost.products,
            value_of(case, record.omega),
        ))
    return {
        "curve": rows, "memory": memory, "status": found.status.name,
        "start": value_of(case, case.omega0), "lowest": case.lowest,
    }


def value_of(case, omega):
    """L(ω), exactly."""
    if case.value is not None:
        return case.value(np.asarray(omega))
    method, solver = case.exact
    return kbo.value_and_hypergradient(
        case.problem, omega, method=method, solver=solver, throw=False
    ).value


def reference(problem, seed, data):
    """min L: known, or found by a long search."""
    case = PROBLEMS[problem](data, seed)
    if case.lowest is not None:
        return case.lowest
    method, solver = case.exact
    found = kbo.minimize(
        case.problem, case.omega0, method=method, solver=solver, bounds=case.bounds, throw=False,
        optimizer=LBFGS(max_steps=2000, tol=1e-10), max_time=300,
    )
    return found.value


# All runs


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--data")
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--store", default="bilevel-store")
    parser.add_argument("--name", default="bilevel", help="of the files of results")
    parser.add_argument("--report", action="store_true", help="of what the store holds, no runs")
    args = parser.parse_args()
    chosen = args.problems or [p for p in PROBLEMS if args.data or not p.startswith("parkinsons")]
    cells = []
    for problem in chosen:
        names = [n for n in methods(problem) if args.methods is None or n in args.methods]
        for seed in range(args.seeds):
            one = lambda name, function, *given, problem=problem, seed=seed: stored(
                args.store, f"{problem}-{name}-{seed}-{args.seconds:g}".replace(" ", "_"),
                lambda: None if args.report else fresh(function, problem, *given, limit=1200),
            )
            runs = {name: one(name, run, name, seed, args.seconds, args.data) for name in names}
            if args.report:
                runs = {name: found for name, found in runs.items() if found is not None}
                if not runs:
                    continue
            reached = [row[4] for found in runs.values() if found for row in found["curve"]]
            best = one("reference", reference, seed, args.data)
            known = any(found and found["lowest"] is not None for found in runs.values())
            lowest = best if known else min([best, *reached])
            for name, found in runs.items():
                print(problem, name, seed, flush=True)
                cells.append(judged(problem, name, seed, found, lowest))
    write_results(args.name, table(cells))
    curves(cells, args.name)
    profiles(cells, args.name)


def judged(problem, name, seed, found, lowest):
    """A run with its curve in suboptimality, and the point at which it reached each level."""
    if found is None:
        found = {"curve": [], "memory": np.nan, "status": "timed out", "start": np.nan}
    scale = found["start"] - lowest
    curve = [(*row[:4], (row[4] - lowest) / scale) for row in found["curve"]]
    reached = {
        level: next((row for row in curve if row[4] <= level), None) for level in LEVELS
    }
    return {"problem": problem, "method": name, "seed": seed, "curve": curve, "reached": reached,
            "memory": found["memory"], "status": found["status"]}


def of(cells, problem, name):
    return [c for c in cells if c["problem"] == problem and c["method"] == name]


def table(cells):
    """One row for each problem and method: medians over the seeds."""
    rows = []
    for problem, name in dict.fromkeys((c["problem"], c["method"]) for c in cells):
        own = of(cells, problem, name)
        row = {"problem": problem, "method": name, "seeds": len(own)}
        for level in LEVELS:
            hit = [c["reached"][level] for c in own]
            times = [np.inf if r is None else r[0] for r in hit]
            row[f"s to {level:g}"] = shown(np.median(times), "{:.3g}")
        last = [c["reached"][LEVELS[-1]] for c in own]
        for k, label in ((1, "evaluations"), (2, "gradients"), (3, "products")):
            counts = [np.inf if r is None else r[k] for r in last]
            row[label] = shown(np.median(counts), "{:.4g}")
        ends = [min((r[4] for r in c["curve"]), default=np.inf) for c in own]
        row["best"] = shown(np.median(ends), "{:.1e}")
        lasts = [c["curve"][-1][4] if c["curve"] else np.inf for c in own]
        row["last"] = shown(np.median(lasts), "{:.1e}")
        row["MB"] = shown(np.median([c["memory"] for c in own]), "{:.0f}")
        rows.append(row)
    return rows


def shown(number, form):
    return form.format(number) if np.isfinite(number) else "–"


def curves(cells, title):
    """Plot the best suboptimality so far against cost, as medians over the seeds."""
    plt = pyplot()
    problems = list(dict.fromkeys(c["problem"] for c in cells))
    names = list(dict.fromkeys(c["method"] for c in cells))
    style = {
        name: {"color": plt.cm.tab20(k % 20), "linestyle": ("-", "--")[k >= 20]}
        for k, name in enumerate(names)
    }
    figure, axes = plt.subplots(
        2, len(problems), figsize=(5 * len(problems), 9), squeeze=False, sharey=True
    )
    for column, problem in zip(axes.T, problems, strict=True):
        for ax, unit, label in zip(column, (0, None), ("seconds", "passes"), strict=True):
            for name in names:
                own = [c for c in of(cells, problem, name) if c["curve"]]
                if not own:
                    continue
                pairs = [steps(c["curve"], unit) for c in own]
                xs = np.unique(np.concatenate([x for x, _ in pairs]))
                xs = xs[xs > 0]
                if not len(xs):
                    continue
                best = [np.interp(xs, x, y) for x, y in pairs]
                ax.loglog(xs, np.maximum(np.median(best, 0), 1e-8), label=name, **style[name])
            ax.set(xlabel=label, title=problem, ylim=(1e-8, 3))
        column[0].legend(fontsize=6)
    axes[0, 0].set_ylabel("suboptimality")
    figure.tight_layout()
    write_figure(f"{title}_curves", figure)


def steps(curve, unit):
    """Cost against the best suboptimality so far.

    With ``unit`` None, the cost is in gradients, and a product counts as two of them.
    """
    cost = [row[2] + 2 * row[3] if unit is None else row[unit] for row in curve]
    return np.array(cost), np.minimum.accumulate([row[4] for row in curve])


def profiles(cells, title):
    """Plot the share of (problem, seed) solved to 1e-3 within a factor of the fastest time."""
    plt, level = pyplot(), LEVELS[-1]
    pairs = list(dict.fromkeys((c["problem"], c["seed"]) for c in cells))
    time_of = {
        (c["problem"], c["seed"], c["method"]):
        np.inf if c["reached"][level] is None else max(c["reached"][level][0], 1e-4) for c in cells
    }
    soonest = {
        pair: min(t for key, t in time_of.items() if key[:2] == pair) for pair in pairs
    }
    figure, ax = plt.subplots(figsize=(7, 5))
    factors = np.geomspace(1, 1e3, 200)
    for k, name in enumerate(dict.fromkeys(c["method"] for c in cells)):
        own = [time_of[*pair, name] / soonest[pair] for pair in pairs if (*pair, name) in time_of
               and np.isfinite(soonest[pair])]
        if own:
            share = [np.mean(np.array(own) <= f) for f in factors]
            ax.semilogx(factors, share, label=f"{name} ({len(own)})", color=plt.cm.tab20(k % 20),
                        linestyle=("-", "--")[k >= 20])
    ax.set(xlabel="time over that of the soonest", ylabel="share solved to 1e-3", ylim=(0, 1.02))
    ax.legend(fontsize=6, ncol=2)
    figure.tight_layout()
    write_figure(f"{title}_profiles", figure)


if __name__ == "__main__":
    main()
