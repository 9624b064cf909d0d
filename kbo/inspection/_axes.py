"""Helpers for axes, legends and names."""

from __future__ import annotations

import numpy as np

# Told apart with any kind of colour vision: Okabe and Ito (2008), Color Universal Design.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

class Closing:
    """What a display needs to give its memory back."""

    def close(self):
        """Close the figure, to free its memory."""
        import matplotlib.pyplot as plt

        plt.close(self.figure_)


def axes(ax, panels=1):
    """(figure, axes): the given ones, or ``panels`` new ones side by side."""
    if ax is not None:
        return np.ravel(ax)[0].figure, ax
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(1, panels, figsize=(5 * panels, 3.6), layout="constrained")
    for panel in np.ravel(ax):
        panel.set_prop_cycle(color=COLORS)
    return figure, ax


def legend(ax):
    """A legend in which "$" is a dollar sign, not the start of mathematics."""
    for text in ax.legend().get_texts():
        text.set_parse_math(False)


def one_line(name):
    """A name without the line breaks and tabs that it may contain."""
    return " ".join(str(name).split())
