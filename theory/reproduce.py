"""Published experiments, run again: they write records, figures and a report."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from kbo.serial import write_atomically
from kbo.solvers import Gradient, Nystrom

from . import accuracy
from .estimators import Plain
from .experiment import run_rate_experiment
from .inference import fit_rate
from .plots import plot_rates
from .problems import PROBLEMS, kbo_paper_iv, torus_networks, torus_regression
from .records import Records
from .sweep import run_sweep

PAPER_SIZES = (*range(100, 1001, 100), *range(2000, 5001, 1000))
PAPER_QUANTITIES = ("value", "grad", "descent_end", "descent_min", "sup_value", "sup_grad")
INPUTS = {"gaussian": "gaussian", "student-2.1": 2.1, "student-2.5": 2.5, "student-2.9": 2.9}

DESCRIPTION = """\
Instrumental variables of El Khoury, Pauwels, Vaiter, Arbel (2025), Section 5: |F − F̂| and its
gradient at ω₀, and ‖∇F‖ along gradient descent on F̂ (backtracking 1.0, ½, 1e-4, to 1e-5), m = n
from {low} to {high}, {repeats} repeats. As in the paper, ω* is drawn once and ω₀ anew in each
repeat, independently of it. The truth is the Mercer expansion of the population problem, not a
large sample. Bias and fluctuation are fitted apart, over samples and ω₀ together: in this range
the total falls faster than n^(−1/2) because the bias, about 1/n, still has a share; the bound of
Theorem 4.1 allows that."""


def kbo_neurips2025(output, sizes=PAPER_SIZES, repeats=50, inputs=tuple(INPUTS), n_jobs=None,
                    progress=True):
    """Run the paper's experiment; write records, figures and report.md into ``output``.

    Parameters
    ----------
    output : path
    sizes : sequence of int
    repeats : int
    inputs : sequence of str
        Keys of ``INPUTS``.
    n_jobs : int or None
    progress : bool

    Returns
    -------
    dict of str to Records
    """
    description = DESCRIPTION.format(low=min(sizes), high=max(sizes), repeats=repeats)
    runs = {name: (kbo_paper_iv(INPUTS[name]), Plain()) for name in inputs}
    return _rates(output, "kbo-neurips2025", description, runs, sizes, repeats, PAPER_QUANTITIES,
                  n_jobs, progress, anew=True)


NETWORKS = """\
The same problem with h and a in a periodic Sobolev space, solved exactly, and as networks trained
by functional implicit differentiation, 1,000 steps each (`problems.torus_regression` and
`problems.torus_networks`; n = m). h_l2 and a_l2 are root-mean-square errors of the two functions.
The truth is closed form for both; no theorem covers the networks."""


def networks(output, sizes=(200, 400, 800, 1600, 3200), repeats=25, n_jobs=None, progress=True):
    """FuncID networks in place of the RKHS: rates of value, gradient and both functions.

    Parameters
    ----------
    output : path
    sizes : sequence of int
    repeats : int
    n_jobs : int or None
    progress : bool

    Returns
    -------
    dict of str to Records
    """
    runs = {
        "rkhs": (torus_regression(1.0, 1e-3), Plain()),
        "networks": (torus_networks(), Plain(Gradient(steps=1000))),
    }
    return _rates(output, "networks", NETWORKS, runs, sizes, repeats,
                  ("value", "grad", "h_l2", "a_l2"), n_jobs, progress)


def _rates(
    output, title, description, runs, sizes, repeats, quantities, n_jobs, progress, anew=False
):
    """Run pairs (problem, estimator); write records, figures and report.md.

    ``anew`` draws an ω₀ for each repeat.
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    found, lines = {}, [f"# {title}", "", description, ""]
    for name, (problem, estimator) in runs.items():
        started = time.perf_counter()
        records = run_rate_experiment(
            problem, sizes, repeats, quantities, n_jobs=n_jobs, store=output / "cells",
            estimator=estimator, progress=progress,
            omega=np.array([problem.start([0, r]) for r in range(repeats)]) if anew else None,
        )
        records.save(output / f"{name}.json")
        found[name] = records
        lines += [f"## {problem.name}", "", _table(records, problem), "",
                  f"{time.perf_counter() - started:.0f} s", ""]
        figure = plot_rates(records, quantities[:4])
        write_atomically(output / f"{name}.png", lambda f, g=figure: g.savefig(f, format="png"))
        lines += [f"![rates]({name}.png)", ""]
        text = "\n".join(lines)
        write_atomically(output / "report.md", lambda f, t=text: f.write(t), "w")
    return found


def _table(records: Records, problem):
    """Slopes with intervals, as a Markdown table."""
    rows = ["| quantity | total | bias | fluctuation | verdict |", "|---|---|---|---|---|"]
    shown = lambda fit: "–" if fit is None else (  # noqa: E731
        f"{fit.slope:+.3f} [{fit.interval[0]:+.3f}, {fit.interval[1]:+.3f}]"
    )
    for quantity in records.quantities:
        fit = fit_rate(records, quantity)
        rows.append(
            f"| {quantity} | {shown(fit.total)} | {shown(fit.bias)} | {shown(fit.fluctuation)} | "
            f"{fit.verdict} |"
        )
    return "\n".join([*rows, "", *[f"Outside the theorem: {what}." for what in problem.outside]])


def ridge_and_smoothness(output, sizes=(1000,), repeats=50, n_jobs=None):
    """Errors at one n against the ridge and the smoothness of the kernel, on the torus."""
    family = {
        f"s = {s:g}, ridge {ridge:g}": torus_regression(s, ridge)
        for s in (0.75, 1.0, 2.0, 3.0) for ridge in (1e-1, 1e-2, 1e-3, 1e-4)
    }
    return _swept(output, "ridge-and-smoothness", family, sizes[0], repeats, n_jobs)


def centres(output, sizes=(2000,), repeats=30, n_jobs=None):
    """Errors at one n against the number of Nyström centres: how many keep the statistical rate."""
    problem = torus_regression(1.0, 1e-3)
    family = {"all points": problem} | {
        f"M = {M}": (problem, Plain(Nystrom(M))) for M in (5, 10, 20, 40, 80, 160)
        if sizes[0] >= M
    }
    return _swept(output, "centres", family, sizes[0], repeats, n_jobs)


def _swept(output, title, family, n, repeats, n_jobs):
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    table = run_sweep(family, n, repeats, n_jobs=n_jobs, store=output / "cells")
    lines = [f"# {title}", "", f"Gradient error at n = m = {n}, {repeats} repeats.", "",
             "| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    shown = lambda v: v if isinstance(v, str) else f"{v:.4g}"  # noqa: E731
    lines += ["| " + " | ".join(shown(v) for v in row) + " |" for row in table.to_numpy()]
    text = "\n".join(lines) + "\n"
    write_atomically(output / "report.md", lambda f: f.write(text), "w")
    return table


def inner_accuracy(output, repeats=5):
    """Errors of AID, ITD and HOAG against inner accuracy, and of g1, g2 and g3 where F = G."""
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    lines = ["# inner-accuracy", "", f"Relative errors of hypergradients on {repeats} samples of "
             "logistic regression (`theory.accuracy.logistic_features`).", ""]
    for name_of, title, measure, against in (
        ("steps", "log error per step", accuracy.inner_steps, "K"),
        ("tolerances", "exponent of the tolerance", accuracy.tolerances, "accuracy"),
        ("min-min", "exponent of ‖θ_K − θ*‖, F = G", accuracy.super_efficiency, "accuracy"),
    ):
        table = measure(n_samples=repeats)
        found = accuracy.exponents(table, against)
        lines += [f"| method | {title} | interval |", "|---|---|---|"]
        lines += [f"| {name} | {e.slope:+.3f} | [{e.interval[0]:+.3f}, {e.interval[1]:+.3f}] |"
                  for name, e in found.items()]
        if "predicted" in table:
            mean = table.groupby("method", sort=False).predicted.mean()
            lines += ["", "Predicted: " + ", ".join(f"{k} {v:+.3f}" for k, v in mean.items()) + "."]
        lines.append("")
        path = output / f"{name_of}.csv"
        write_atomically(path, lambda f, t=table: f.write(t.to_csv(index=False)), "w")
    text = "\n".join(lines)
    write_atomically(output / "report.md", lambda f: f.write(text), "w")


EXPERIMENTS = {
    "kbo-neurips2025": kbo_neurips2025, "ridge-and-smoothness": ridge_and_smoothness,
    "centres": centres, "networks": networks, "inner-accuracy": inner_accuracy,
}


def listing():
    """The experiments and problems that can be run, with the first line of each docstring."""
    rows = [f"{name:22s} {run.__doc__.splitlines()[0]}" for name, run in EXPERIMENTS.items()]
    rows += [
        f"{'problems.' + name:30s} {make.__doc__.splitlines()[0]}"
        for name, make in PROBLEMS.items()
    ]
    return "\n".join(rows)
