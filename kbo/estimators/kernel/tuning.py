"""The start of an estimator's search, and the standard errors of its end."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import jax
import numpy as np

from ...kernels import Composed, OnFeatures, Product, Scaled, Sum, Warped
from ...linalg import SingularSystem
from ...losses import as_loss
from ...parameters import tunable_names
from ...search.uncertainty import errors_of
from ...solvers import Exact, Nystrom

SMOOTHER = 100.0  # factor on alpha in the second start that is tried
LENGTHS, ALPHAS = (0.5, 1.5, 4.0), (0.1, 10.0, 100.0)  # factors in the grid of starts


def starts(model):
    """ω₀, and ω₀ with a hundred times its alpha if alpha is tuned.

    If targets are noisy, a small ridge leads into local minima with short lengthscales.
    """
    start = model.start()
    return [start, model.scaled_start(alpha=SMOOTHER)] if model.tune_alpha else [start]


def better_start(task, robust, time_left):
    """L at ω₀, and the start with the lowest L (infinity and ω₀ if there is only one).

    Where a value costs factorisations only, for squared losses and direct solvers, ω₀ and nine
    combinations of lengthscales and alpha are tried, otherwise ``starts``. With ``robust``, doubled
    lengthscales are tried too: with short ones too few neighbours keep h from following an
    outlier. The first two are tried always, the others while ``time_left()`` is positive.
    """
    model = task.model
    candidates = starts(model)
    direct = isinstance(task.whole.solver, Exact | Nystrom)
    if direct and as_loss(model.inner_loss.base).constant_curvature:
        lengths = LENGTHS if model.has_lengthscale else (1.0,)
        alphas = ALPHAS if model.tune_alpha else (1.0,)
        grid = [model.scaled_start(*factors) for factors in itertools.product(lengths, alphas)]
        candidates = candidates[:1] + (grid if len(grid) > 1 else [])
    elif robust and model.has_lengthscale:
        candidates.append(model.scaled_start(2.0))
    if len(candidates) == 1 or not jax.tree.leaves(candidates[0]):
        return np.inf, candidates[0]
    levels = []
    bounds = task.bounds()
    candidates = [jax.tree.map(np.clip, omega, *bounds) for omega in candidates]
    for omega in candidates:
        if len(levels) < 2 or time_left() > 0:
            levels.append(task.session.value(omega))
    return levels[0], candidates[int(np.argmin(levels))]


def held_out_values(session, model, n):
    """For each of ``starts`` that can be solved, h of each fold at the n samples: (F, n, p)."""
    found = []
    for start in starts(model):
        try:
            solution = session.solve(start)
        except SingularSystem:
            continue
        if solution.status.usable:
            found.append(np.array(solution.h_outer)[:, :n])
    return found


def errors_by_name(session, model, omega, bounds):
    """Standard errors, by name, of the criterion and of the logarithm of each number tuned.

    If all parts of the kernel have scales, multiplying alpha and all scales by the same number
    leaves the model unchanged. The errors are then for fixed alpha, and alpha has none.
    """
    scaled = "scale" in model.kernel.names() and is_scaled(model.kernel.base)
    redundant = model.tune_alpha and scaled
    if redundant:
        bounds = tuple({**side, "alpha": omega["alpha"]} for side in bounds)
    found = errors_of(session.starting_at(omega), bounds=bounds)
    logs = found.omega
    named = {"criterion": found.value}
    if model.tune_alpha and not redundant:
        named["alpha"] = logs["alpha"]
    parts = {"kernel": model.kernel, "inner": model.inner_loss, "outer": model.outer_loss}
    for part, tunable in parts.items():
        names = tunable.names()
        for name in dict.fromkeys(names):  # keeps the order of groups or mixed kernels
            own = [v for n, v in zip(names, logs[part], strict=True) if n == name]
            for k, error in enumerate(own):
                named[name if len(own) == 1 else f"{name}_{k}"] = error
    return {name: float(v) if np.ndim(v) == 0 else v for name, v in named.items()}


def is_scaled(kernel):
    """Whether each part of a kernel has a scale, so that these multiply the kernel."""
    if isinstance(kernel, Sum):
        return is_scaled(kernel.left) and is_scaled(kernel.right)
    if isinstance(kernel, Product):
        return is_scaled(kernel.left) or is_scaled(kernel.right)
    if isinstance(kernel, OnFeatures | Warped | Composed):
        return is_scaled(kernel.kernel)
    return isinstance(kernel, Scaled)


def tuned_names(tune, kernel, *losses):
    """The estimators' parameter ``tune`` as a set of names, or None for all.

    Valid names are "alpha", "centers", and the numeric attributes of the kernel and the losses.

    Raises
    ------
    ValueError
        For a name that is not valid for this kernel and these losses.
    """
    if tune is None:
        return None
    names = [tune] if isinstance(tune, str) else tune
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"tune={tune!r} must be None, a name or a list of names")
    names = set(names)
    known = {"alpha", "centers"}.union(*map(tunable_names, (kernel, *losses)))
    if names - known:
        raise ValueError(
            f"tune names {sorted(names - known)}; with this kernel and loss choose among "
            f"{sorted(known)}, or None for all but the centres"
        )
    return names
