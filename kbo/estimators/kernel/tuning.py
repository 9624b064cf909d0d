"""Where the search of an estimator starts, and how sure its end is."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...linalg import SingularSystem
from ...search.session import prepare
from ...search.uncertainty import standard_errors
from .model import KERNEL_FIXED, LOSS_FIXED, named_numbers

SMOOTHER = 100.0  # times alpha: the other start that is tried


def starts(model):
    """ω₀, and the same with a hundred times its alpha where alpha is tuned.

    With noisy targets a small ridge leads into minima where lengthscales are short.
    """
    start = model.start()
    if not model.tune_alpha:
        return [start]
    return [start, {**start, "alpha": start["alpha"] + np.log(SMOOTHER)}]


def better_start(model, method, problem, solver, robust=False):
    """L at ω₀; and whichever of ``starts`` has the lowest L, with ``robust`` a longer one too.

    With short lengthscales few neighbours keep h from following an outlier.
    """
    candidates = starts(model)
    if robust and model.has_lengthscale:
        candidates.append(model.shorter(-1))
    if len(candidates) == 1:
        return np.inf, candidates[0]
    with prepare(problem, candidates[0], solver, method) as session:
        levels = [session.value(omega) for omega in candidates]
    return levels[0], candidates[int(np.argmin(levels))]


def held_out_values(model, problem, solver, n):
    """h of each fold at each of ``starts``, at the n samples that judge it: (F, n, p) each."""
    found = []
    candidates = starts(model)
    with prepare(problem, candidates[0], solver) as session:
        for start in candidates:
            try:
                solution = session.solve(start)
            except SingularSystem:
                continue
            if solution.status.usable:
                found.append(np.array(solution.h_outer)[:, :n])
    return found


def errors_by_name(model, problem, omega, solver, method, bounds):
    """Standard errors of the criterion, and of the logarithm of each number tuned.

    Where parts of the kernel have scales, alpha times c with scales times c is the same model: the
    errors are then at this alpha, and alpha has none.
    """
    redundant = model.tune_alpha and "scale" in model.kernel.names()
    if redundant:
        bounds = tuple({**side, "alpha": omega["alpha"]} for side in bounds)
    found = standard_errors(problem, omega, solver=solver, method=method, bounds=bounds)
    logs = found.omega
    named = {"criterion": found.value}
    if model.tune_alpha and not redundant:
        named["alpha"] = logs["alpha"]
    parts = {"kernel": model.kernel, "inner": model.inner_loss, "outer": model.outer_loss}
    for part, tunable in parts.items():
        names = tunable.names()
        for name in dict.fromkeys(names):  # in the order of groups or mixed kernels
            own = [v for n, v in zip(names, logs[part], strict=True) if n == name]
            for k, error in enumerate(own):
                named[name if len(own) == 1 else f"{name}_{k}"] = error
    return {name: float(v) if np.ndim(v) == 0 else v for name, v in named.items()}


def tuned_names(tune, kernel, *losses):
    """The estimators' parameter ``tune`` as a set of names, or None for all.

    Besides alpha and the centres, kernel and losses have those that their classes give them.

    Raises
    ------
    ValueError
        For a name that no parameter of theirs has.
    """
    if tune is None:
        return None
    names = [tune] if isinstance(tune, str) else tune
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"tune={tune!r} must be None, a name or a list of names")
    names = set(names)
    of_kernel = {name for name, _ in named_numbers(kernel)} - KERNEL_FIXED
    of_losses = {name for loss in losses for name, _ in named_numbers(loss)} - LOSS_FIXED
    known = {"alpha", "centers"} | of_kernel | of_losses
    if names - known:
        raise ValueError(
            f"tune names {sorted(names - known)}; with this kernel and loss choose among "
            f"{sorted(known)}, or None for all but the centres"
        )
    return names
