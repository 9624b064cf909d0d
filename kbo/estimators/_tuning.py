"""Where the search of an estimator starts, and how sure its end is."""

from __future__ import annotations

import numpy as np

from ..hypergradients.base import settled
from ..run import value
from ..uncertainty import standard_errors

SMOOTHER = 100.0  # times alpha: the other start that is tried


def better_start(model, method, problem, solver):
    """L at ω₀; and ω₀, or the same with a hundred times its alpha if L is lower there.

    With noisy targets a small ridge leads into minima where lengthscales are short.
    """
    start = model.start()
    if not model.tune_alpha:
        return np.inf, start
    smoother = {**start, "alpha": start["alpha"] + np.log(SMOOTHER)}
    levels = []
    for omega in (start, smoother):
        with settled(problem, omega, solver) as settings:
            levels.append(value(*settings, method))
    return levels[0], smoother if levels[1] < levels[0] else start


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
