"""Plots of error against sample size: total, bias and fluctuation, with the fitted slopes."""

from __future__ import annotations

import numpy as np

from kbo.inspection import COLORS

from .inference import fit_rate
from .measured import FEWEST_REPEATS, FEWEST_SIZES, held, proportional
from .quantities import QUANTITIES

TITLES = {
    "value": "|F − F̂| at ω₀", "grad": "‖∇F − ∇F̂‖ at ω₀", "descent_end": "‖∇F(ω_T)‖",
    "descent_min": "min_t ‖∇F(ω_t)‖", "descent_curve": "min_{t ≤ 512} ‖∇F(ω_t)‖",
    "sup_value": "sup |F − F̂| over Ω", "sup_grad": "sup ‖∇F − ∇F̂‖ over Ω",
    "h_rkhs": "‖h − ĥ‖ in H", "h_l2": "‖h − ĥ‖ in L²", "a_rkhs": "‖a − â‖ in H",
    "a_l2": "‖a − â‖ in L²",
}
PANELS = ("value", "grad", "descent_end", "descent_min")


def plot_rates(records, quantities=None, axes=None):
    """A log-log panel for each quantity: mean ± 2 standard errors, bias, fluctuation, n^(−1/2).

    Parameters
    ----------
    records : Records or dict of str to Records
        Those of a dict are drawn together, labelled by name.
    quantities : sequence of str, optional
        By default those of the paper's four that were measured, or all if none of them was.
    axes : sequence of matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        For a quantity that was not measured, cells with one repeat, errors that are not finite, or
        n and m that vary separately.

    References
    ----------
    El Khoury et al. (2025), Figure 1: the panels "value", "grad", "descent_end", "descent_min".
    """
    import matplotlib.pyplot as plt

    several = records if isinstance(records, dict) else {"": records}
    measured = next(iter(several.values())).quantities
    if quantities is None:
        quantities = [name for name in PANELS if name in measured] or measured
    if axes is None:
        _, axes = plt.subplots(
            1, len(quantities), figsize=(4 * len(quantities), 3.6), layout="constrained"
        )
    axes = np.atleast_1d(axes)
    for ax, quantity in zip(axes, quantities, strict=True):
        for k, (name, one) in enumerate(several.items()):
            _panel(ax, one, quantity, COLORS[k % len(COLORS)], name, parts=len(several) == 1)
        varies = [_varies(one, quantity) for one in several.values()]
        ax.set(title=TITLES.get(quantity, quantity), xlabel="nm"[varies[0]], xscale="log",
               yscale="log")
        sizes = [
            pair[k] for k, one in zip(varies, several.values(), strict=True)
            for pair in one.errors[quantity]
        ]
        x = np.array([min(sizes), max(sizes)], float)
        ax.plot(x, ax.get_ylim()[1] * (x / x[0]) ** -0.5, "k:", lw=1, label="n^(−1/2)")
        ax.legend(fontsize=7)
    return axes[0].figure


def _varies(records, quantity):
    """0 where n varies (with or without m), 1 where only m does."""
    pairs = list(records.cells(quantity))
    if not held(pairs) and not proportional(pairs):
        raise ValueError(f"{quantity} has n and m apart: fit_rate shows its parts, a curve cannot")
    return int(held(pairs) == "n")


def _panel(ax, records, quantity, color, name, parts):
    kind, varies = QUANTITIES[quantity], _varies(records, quantity)
    cells = records.cells(quantity)
    sizes = np.array([pair[varies] for pair in cells], float)
    magnitudes = [kind.magnitude(rows, records.domain) for rows in cells.values()]
    mean = np.array([m.mean() for m in magnitudes])
    error = np.array([m.std(ddof=1) / np.sqrt(len(m)) for m in magnitudes])
    enough = len(cells) >= FEWEST_SIZES and min(map(len, magnitudes)) >= FEWEST_REPEATS
    fit = fit_rate(records, quantity) if enough else None
    total = fit and (fit.total or fit.terms["n"].slope)
    label = " ".join([name or "total", *([f"n^{total.slope:.2f}"] if total else [])])
    ax.errorbar(sizes, mean, 2 * error, fmt="o-", ms=3, color=color, label=label)
    if not parts or fit is None:
        return
    for part, style in (("fluctuation", "s--"), ("bias", "^--")):
        found = getattr(fit, part)
        if found is not None:
            ax.plot(found.sizes, found.errors, style, ms=3, lw=1,
                    color=COLORS[2 if part == "bias" else 1], label=f"{part} n^{found.slope:.2f}")
