"""What a notebook shows of a result: facts in a table, and a curve, without a plotting library."""

from __future__ import annotations

import abc
import html
import math

WIDTH, HEIGHT, MARGIN = 260, 110, 18


class Shown(abc.ABC):
    """A record that notebooks show by its ``html_parts()``."""

    @abc.abstractmethod
    def html_parts(self) -> str:
        """The inside of what is shown, as HTML."""

    def _repr_html_(self):
        name = html.escape(type(self).__name__)
        return f"<div><strong>{name}</strong>{self.html_parts()}</div>"


def facts(rows) -> str:
    """A table of names and values; None and empty values are left out."""
    cells = "".join(
        f"<tr><th style='text-align:left'>{html.escape(str(name))}</th>"
        f"<td style='text-align:left'>{html.escape(str(value))}</td></tr>"
        for name, value in rows.items() if value not in (None, "")
    )
    return f"<table>{cells}</table>"


def bars(rows) -> str:
    """A bar for each name, whose value is its length from 0 to 1 and a remark beside it."""
    cells = "".join(
        f"<tr><th style='text-align:left'>{html.escape(str(name))}</th><td style='text-align:left'>"
        f"<svg width='{WIDTH}' height='12' role='img' aria-label='{length:.2f}'><rect "
        f"width='{WIDTH * length:.0f}' height='12' fill='#0072b2'/></svg></td>"
        f"<td>{html.escape(remark)}</td></tr>"
        for name, (length, remark) in rows.items()
    )
    return f"<table>{cells}</table>" if cells else ""


def curve(values, title, log=False) -> str:
    """Values against their numbers, as an SVG of 260 by 110 pixels; nothing for fewer than two.

    Values that are not finite, or not positive on a logarithmic axis, are left out.
    """
    heights = [math.log10(v) if log and v > 0 else v for v in map(float, values)]
    points = [
        (k, y) for k, (v, y) in enumerate(zip(values, heights, strict=True))
        if math.isfinite(y) and (v > 0 or not log)
    ]
    if len(points) < 2:
        return ""
    low, high = min(y for _, y in points), max(y for _, y in points)
    across, up = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    first, last = points[0][0], points[-1][0]
    path = " ".join(
        f"{MARGIN + across * (k - first) / (last - first):.1f},"
        f"{MARGIN + up * (high - y) / ((high - low) or 1):.1f}"
        for k, y in points
    )
    shown = (lambda y: f"{10**y:.2g}") if log else (lambda y: f"{y:.4g}")
    text = lambda y, words: f"<text x='{MARGIN}' y='{y}' font-size='11'>{words}</text>"  # noqa: E731
    return (
        f"<svg width='{WIDTH}' height='{HEIGHT}' role='img' fill='currentColor' "
        f"aria-label='{html.escape(title)}'>"
        f"<polyline points='{path}' fill='none' stroke='#0072b2' stroke-width='2'/>"
        + text(12, f"{html.escape(title)}, from {shown(points[0][1])}")
        + text(HEIGHT - 3, f"to {shown(points[-1][1])}, steps {first} to {last}") + "</svg>"
    )
