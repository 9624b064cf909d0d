"""The path of a hypergradient search over the surface of its outer loss."""

from __future__ import annotations

import numpy as np

from ._axes import COLORS, axes


class SearchPathDisplay:
    """The iterates in one or two parameters, the surface they descend, and the points of a grid.

    Parameters
    ----------
    path : dict of str to array (T,)
        Values of one or two parameters along the search, in order.
    outer_loss : array-like (T,)
    surface : None or dict
        Values (R,) of the same parameters on an even grid and, under "outer_loss", the surface,
        (R,) or (R, R) with the first parameter along the rows.
    grid : None or dict of str to array (G,)
        The points of a grid (or random) search.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    """

    def __init__(self, path, outer_loss, surface=None, grid=None):
        if len(path) not in (1, 2):
            raise ValueError(f"{len(path)} parameters cannot be drawn: choose one or two (params=)")
        self.path = {name: np.asarray(values, float) for name, values in path.items()}
        self.outer_loss = np.asarray(outer_loss, float)
        self.surface, self.grid = surface, grid

    @classmethod
    def from_cv_results(cls, cv_results, *, params=None, grid=None, ax=None):
        """Draw the path alone, or with the points of a grid.

        Parameters
        ----------
        cv_results : dict
            ``cv_results_`` of a HypergradientSearchCV.
        params : sequence of str, optional
            One or two parameters; the first two by default.
        grid : dict, optional
            ``cv_results_`` of a GridSearchCV (or another search) over the same parameters.
        ax : matplotlib Axes, optional
        """
        return cls(*_path(cv_results, params), grid=_points(grid, params, cv_results)).plot(ax)

    @classmethod
    def from_estimator(cls, search, X, y, *, params=None, grid=None, resolution=15, ax=None):
        """Draw path and surface, a slice through the best point along the chosen parameters.

        Parameters
        ----------
        search : fitted HypergradientSearchCV
        X, y : array-like
            The data that the search was fitted to.
        params, grid, ax
            As in ``from_cv_results``.
        resolution : int
            Points of the surface along each parameter.
        """
        results = search.cv_results_
        path, outer_loss = _path(results, params)
        lines = {name: search.ranges_[name].line(resolution) for name in path}
        mesh = np.meshgrid(*lines.values(), indexing="ij")
        best = results["params"][int(np.argmin(results["outer_loss"]))]
        points = [
            {**best, **dict(zip(path, map(float, point), strict=True))}
            for point in zip(*[side.ravel() for side in mesh], strict=True)
        ]
        values = search.outer_loss_at(X, y, points).reshape(mesh[0].shape)
        surface = {**lines, "outer_loss": values}
        return cls(path, outer_loss, surface, _points(grid, params, results)).plot(ax)

    def plot(self, ax=None):
        """Draw, on new axes unless ``ax`` is given."""
        self.figure_, self.ax_ = axes(ax)
        (self._plot_line if len(self.path) == 1 else self._plot_plane)()
        for side, name in zip("xy", self.path, strict=False):
            self.ax_.set(**{f"{side}label": name})
            if (self.path[name] > 0).all():
                self.ax_.set(**{f"{side}scale": "log"})
        self.ax_.legend()
        return self

    def _plot_line(self):
        ((name, path),) = self.path.items()
        if self.surface is not None:
            self.ax_.plot(self.surface[name], self.surface["outer_loss"], "0.6", label="outer loss")
        self.ax_.plot(path, self.outer_loss, "o-", color=COLORS[1], ms=4, label="search")
        if self.grid is not None:
            low = np.full(len(self.grid[name]), self.outer_loss.min())
            self.ax_.plot(self.grid[name], low, "k|", ms=12, label="grid")
        self.ax_.set(ylabel="outer loss")

    def _plot_plane(self):
        (first, x), (second, y) = self.path.items()
        if self.surface is not None:
            values = np.asarray(self.surface["outer_loss"])
            finite = np.isfinite(values)
            # Levels are denser near the bottom, to show the valley.
            levels = np.quantile(values[finite], np.linspace(0, 1, 13) ** 1.5)
            drawn = self.ax_.contourf(
                self.surface[first], self.surface[second], np.where(finite, values, np.nan).T,
                levels=np.unique(levels), cmap="viridis_r", extend="both",
            )
            self.figure_.colorbar(drawn, ax=self.ax_, label="outer loss", format="%.3g")
        if self.grid is not None:
            self.ax_.plot(self.grid[first], self.grid[second], "wx" if self.surface else "kx",
                          ms=5, label="grid")
        self.ax_.plot(x, y, "o-", color=COLORS[1], ms=4, label="search")
        best = int(np.argmin(self.outer_loss))
        self.ax_.plot(x[best], y[best], "*", color=COLORS[1], ms=14)


def _path(cv_results, params):
    missing = "outer_loss" not in cv_results
    if missing:
        raise ValueError("cv_results has no outer_loss: it must come from a HypergradientSearchCV")
    names = params
    if names is None:
        names = [key.removeprefix("param_") for key in cv_results if key.startswith("param_")][:2]
    names = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in names if f"param_{name}" not in cv_results]
    if unknown:
        raise ValueError(f"params={params!r}: the search has no {unknown}")
    values = {name: np.array([row[name] for row in cv_results["params"]]) for name in names}
    vectors = [name for name, v in values.items() if v.ndim > 1]
    if vectors:
        raise ValueError(f"{vectors} have several entries each: choose parameters that are numbers")
    outer_loss, restart = (np.asarray(cv_results[key]) for key in ("outer_loss", "restart"))
    rows = restart == restart[np.argmin(outer_loss)]  # those of the restart with the lowest loss
    return {name: v[rows] for name, v in values.items()}, outer_loss[rows]


def _points(grid, params, cv_results):
    if grid is None:
        return None
    names = _path(cv_results, params)[0]
    try:
        return {name: np.array([row[name] for row in grid["params"]], float) for name in names}
    except KeyError as error:
        raise ValueError(f"grid has no parameter {error}") from error
