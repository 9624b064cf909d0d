"""Errors at one sample size over a family of problems: of ridges, kernels, numbers of centres."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .experiment import run_rate_experiment
from .quantities import QUANTITIES


def run_sweep(
    family, n, n_repeats=50, quantity="grad", random_state=0, n_jobs=None, store=None, omega=None
):
    """Mean error, bias and fluctuation of each member of a family, on the same seeds.

    Parameters
    ----------
    family : dict of str to Population, or to pair (Population, estimator)
    n : int or pair (n, m)
    n_repeats, quantity, random_state, n_jobs, store, omega
        As in run_rate_experiment; all members share one ``omega``, by default drawn from the first
        member's Ω.

    Returns
    -------
    DataFrame
        A row for each member: its name, its effective dimension Σ μ/(μ + ridge) where the spectrum
        is known, the mean error and its standard error, ‖bias‖ (less the share of the noise) and
        the root mean square fluctuation. The last two are None for quantities that are norms.

    Raises
    ------
    ValueError
        For an unknown quantity, an empty family, and whatever run_rate_experiment refuses.
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"quantity={quantity!r}: choose among {sorted(QUANTITIES)}")
    if not family:
        raise ValueError("family is empty: give problems by name")
    rows, kind = [], QUANTITIES[quantity]
    for name, member in family.items():
        problem, estimator = member if isinstance(member, tuple) else (member, None)
        omega = problem.start(random_state) if omega is None else omega
        records = run_rate_experiment(
            problem, [n], n_repeats, [quantity], random_state, n_jobs, store, omega=omega,
            estimator=estimator,
        )
        (errors,) = records.cells(quantity).values()
        size = kind.magnitude(errors, problem)
        bias, fluctuation = _parts(kind, errors, problem) if kind.signed else (None, None)
        known = hasattr(problem, "effective_dimension")
        rows.append({
            "name": name, "effective dimension": problem.effective_dimension() if known else None,
            "error": size.mean(), "standard error": size.std(ddof=1) / np.sqrt(len(size)),
            "bias": bias, "fluctuation": fluctuation,
        })
    return pd.DataFrame(rows)


def _parts(kind, errors, problem):
    """‖bias‖ and root mean square fluctuation."""
    centred = kind.magnitude(errors - errors.mean(0), problem)
    variance = (centred**2).sum() / (len(errors) - 1)
    square = kind.magnitude(errors.mean(0)[None], problem)[0] ** 2 - variance / len(errors)
    return np.sqrt(max(square, 0.0)), np.sqrt(variance)
