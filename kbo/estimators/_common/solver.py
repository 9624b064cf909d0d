"""Solvers by name, and centres that are learned."""

from __future__ import annotations

import dataclasses
from numbers import Integral
from typing import Any

import equinox as eqx
import numpy as np

from ... import solvers
from ...module import Module
from .scale import center_and_spread


def as_solver(solver, n_centers, seed) -> solvers.Solver:
    """The solver for a name and a number of centres; a Solver is returned as it is.

    Parameters
    ----------
    solver : str or Solver
    n_centers : int or None
    seed : int
        Draws the centres.

    Raises
    ------
    ValueError
        For an unknown name, or if ``n_centers`` is given for a solver without centres, or for a
        Solver, which has its own.
    """
    if n_centers is not None and not (isinstance(n_centers, Integral) and n_centers > 0):
        raise ValueError(f"n_centers={n_centers!r} must be a positive integer or None")
    uniform = solvers.centers.Uniform(n_centers, seed)
    named = {
        "auto": solvers.Auto(n_centers, seed),
        "exact": solvers.Exact(),
        "nystrom": solvers.Nystrom(uniform),
        "falkon": solvers.Falkon(uniform),
        "full_cg": solvers.FullCG(seed=seed),
    }
    if isinstance(solver, str) and solver in named:
        chosen = named[solver]
    elif isinstance(solver, solvers.Solver):
        chosen = solver
    else:
        raise ValueError(
            f"solver={solver!r} must be one of {sorted(named)} or a kbo.solvers.Solver"
        )
    if n_centers is not None and solver not in ("auto", "nystrom", "falkon"):
        raise ValueError(
            f"n_centers={n_centers} means nothing to solver={solver!r}: give it to 'auto', "
            "'nystrom' or 'falkon', or to the solver itself"
        )
    return chosen


class MovedCenters(Module):
    """ω ↦ the centres z + scale·ω["centers"]."""

    base: Any
    scale: Any

    def __call__(self, omega):
        return self.base + self.scale * omega["centers"]


def learning_centers(solver, model, X, weight):
    """The solver and the model with the solver's centres in ω, as shifts in units of √d spreads.

    Raises
    ------
    ValueError
        If the solver has no centres.
    """
    centers = getattr(solver, "centers", None)
    if not hasattr(centers, "shape"):
        raise ValueError(
            f"tune names 'centers', but solver={solver} has none: use 'nystrom' or 'falkon', or "
            "give n_centers"
        )
    spread = center_and_spread(X, weight)[1]
    moved = MovedCenters(np.asarray(centers), spread * np.sqrt(np.count_nonzero(spread)))
    solver = eqx.tree_at(lambda s: s.centers, solver, moved)
    return solver, dataclasses.replace(model, center_shape=tuple(centers.shape))
