"""Printing of remarks and tables."""

from __future__ import annotations

import sys


def say(text):
    """Print a remark for the user on standard error, since standard output is for results."""
    print(text, file=sys.stderr)


def table(rows, columns):
    """Rows, given as dicts, as aligned text with the given columns."""
    cells = [columns, *([str(row.get(c, "")) for c in columns] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(columns))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
