"""Errors that an experiment measured, and the store that keeps finished cells."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from kbo.serial import write_atomically


@dataclass
class Records:
    """Signed errors of every repeat.

    Attributes
    ----------
    about : dict
        The problem, the point, the seeds, which assumptions of the theorem are not met, and in
        "truth_sizes" the size of the truth of each quantity.
    errors : dict of str to dict of (n, m) to ndarray (R, k)
        By quantity and sample sizes: one row of k numbers for each repeat.
    """

    about: dict
    errors: dict = field(default_factory=dict)

    @property
    def domain(self):
        """What the size of an error over Ω depends on: ``box``, ``size`` (q) and ``quadratic``."""
        box = tuple(np.array(side) for side in self.about.get("box", ((), ())))
        quadratic = self.about.get("quadratic", False)
        return SimpleNamespace(box=box, size=len(box[0]), quadratic=quadratic)

    def add(self, cell):
        """Append what one cell measured: {"n", "m", "errors": {quantity: (r, k)}}."""
        for quantity, rows in cell["errors"].items():
            sizes = self.errors.setdefault(quantity, {})
            key = cell["n"], cell["m"]
            sizes[key] = np.vstack([sizes[key], rows]) if key in sizes else np.array(rows)

    @property
    def quantities(self):
        """The names of the quantities measured."""
        return list(self.errors)

    def measured(self, quantity):
        """The name itself if that quantity was measured; ValueError otherwise."""
        if quantity not in self.errors:
            raise ValueError(f"quantity={quantity!r} was not measured: {self.quantities} were")
        return quantity

    def cells(self, quantity):
        """Errors (R, k) by (n, m), in increasing order.

        Raises
        ------
        ValueError
            For a quantity that was not measured, a cell with one repeat, or numbers that are not
            finite.
        """
        found = {}
        for (n, m), cell in sorted(self.errors[self.measured(quantity)].items()):
            rows = np.asarray(cell, float)
            at = f"{quantity} at n={n}, m={m}"
            if rows.ndim != 2 or len(rows) < 2:
                raise ValueError(
                    f"{at} has shape {rows.shape}: a row for each of two repeats at least is needed"
                )
            bad = ~np.isfinite(rows).all(1)
            if bad.any():
                raise ValueError(
                    f"{at} is not finite in repeat {int(np.argmax(bad))}: leave that cell out, or "
                    "mend the estimator"
                )
            found[n, m] = rows
        return found

    def truth_size(self, quantity):
        """The size of the quantity's truth, in the units of its errors; None if it is unknown."""
        return self.about.get("truth_sizes", {}).get(quantity)

    def frame(self):
        """A table with one row per number: n, m, quantity, repeat, entry, error."""
        rows = [
            {"n": n, "m": m, "quantity": quantity, "repeat": r, "entry": k, "error": float(value)}
            for quantity, sizes in self.errors.items() for (n, m), errors in sizes.items()
            for r, row in enumerate(errors) for k, value in enumerate(row)
        ]
        return pd.DataFrame(rows)

    def save(self, path):
        """Write the records as JSON to ``path``, atomically."""
        sizes = {
            quantity: [{"n": n, "m": m, "errors": rows.tolist()} for (n, m), rows in cells.items()]
            for quantity, cells in self.errors.items()
        }
        text = json.dumps({"about": self.about, "errors": sizes})
        write_atomically(Path(path), lambda file: file.write(text), "w")

    @classmethod
    def load(cls, path):
        """Read what ``save`` wrote to ``path``."""
        found = json.loads(Path(path).read_text())
        errors = {
            quantity: {(cell["n"], cell["m"]): np.array(cell["errors"]) for cell in cells}
            for quantity, cells in found["errors"].items()
        }
        return cls(found["about"], errors)


class Store:
    """A folder with one file for each finished cell, written atomically.

    Parameters
    ----------
    path : path or None
        None keeps nothing.
    about : dict
        The settings that a cell depends on; cells of other settings go to other files.
    """

    def __init__(self, path, about):
        self.path = None if path is None else Path(path)
        text = json.dumps(about, sort_keys=True, default=str)
        self._digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        if self.path is not None:
            self.path.mkdir(parents=True, exist_ok=True)

    def _file(self, n, m, block):
        return self.path / f"{self._digest}-n{n}-m{m}-{block}.json"

    def get(self, n, m, block):
        """The cell, or None if it is not stored."""
        if self.path is None or not self._file(n, m, block).exists():
            return None
        return json.loads(self._file(n, m, block).read_text())

    def put(self, n, m, block, cell):
        """Store a finished cell."""
        if self.path is not None:
            text = json.dumps(cell)
            write_atomically(self._file(n, m, block), lambda file: file.write(text), "w")
