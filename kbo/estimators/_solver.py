"""The solver by name."""

from __future__ import annotations

from numbers import Integral

from .. import solvers


def as_solver(solver, n_centers, seed) -> solvers.Solver:
    """A solver for a name and a number of centres.

    Parameters
    ----------
    solver : str or Solver
    n_centers : int or None
    seed : int

    Raises
    ------
    ValueError
        For an unknown name, or centres for a solver that has none or has its own.
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
