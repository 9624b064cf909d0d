"""A log of evaluations on disk, from which an interrupted run resumes exactly.

Outer optimisers are deterministic functions of the values and gradients that they receive. A run
is therefore resumed by starting it again, with evaluations read from the log until its end.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from .. import serial
from ..result import Residuals, Status
from .evaluation import Evaluation


class EvaluationLog:
    """Evaluations (ω, L, ∇L, residuals, status) in their order, and the warm start after them.

    Rows are appended to one file, so that the cost of a step does not grow with their number. The
    last warm start is in another file, ``path``.state. A last row whose warm start had not been
    written when the run was interrupted is dropped, and its evaluation repeated.

    Parameters
    ----------
    path : path-like or None
        The file of the log; None writes none, so that there is nothing to resume.
    fingerprint : str
        Identifies the problem and the settings.

    Raises
    ------
    ValueError
        If the file is not a log, belongs to another problem or other settings, if its warm start is
        missing, or its folder.
    """

    _SCALARS = 7  # status, whether it has a warm start, L, two residuals, seconds, part

    def __init__(self, path, fingerprint):
        self.path = None if path is None else Path(path)
        self.fingerprint = fingerprint
        self._names = [status.name for status in Status]
        self._rows, self._count = [], 0
        self.warm_start = None
        if self.path is None:
            return
        if not self.path.parent.is_dir():
            raise ValueError(
                f"checkpoint={str(self.path)!r} lies in a folder that does not exist: make "
                f"{str(self.path.parent)!r} first"
            )
        if self.path.exists():
            self._read()

    def __len__(self):
        return self._count

    @property
    def kept(self) -> bool:
        """Whether the log is written to a file."""
        return self.path is not None

    @property
    def _state_path(self):
        return self.path.with_name(self.path.name + ".state")

    def _read(self):
        head, _, body = self.path.read_bytes().partition(b"\n")
        try:
            header = json.loads(head)
            size, self._names, owner = header["size"], header["statuses"], header["fingerprint"]
            if header["scalars"] != self._SCALARS:
                raise ValueError("of another version")
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"checkpoint={str(self.path)!r} is not a checkpoint of this version of kbo: "
                "name another file"
            ) from error
        if owner != self.fingerprint:
            raise ValueError(
                f"checkpoint={str(self.path)!r} belongs to another problem, starting point, "
                "solver, method, optimiser or bounds: delete it, or name another file"
            )
        width = self._SCALARS + 2 * size
        whole = len(body) // (8 * width)
        rows = np.frombuffer(body, np.float64, whole * width).reshape(whole, width)
        count, warm_start = self._read_state()
        if len(rows) and rows[-1, 1] and count == len(rows) - 1:
            rows = rows[:-1]
        if len(rows) and rows[-1, 1] and count != len(rows):
            raise ValueError(
                f"checkpoint={str(self.path)!r} needs its warm start, {str(self._state_path)!r}: "
                "put it back, or delete the checkpoint"
            )
        self._rows, self._count = rows, len(rows)
        self.warm_start = warm_start if len(rows) and rows[-1, 1] else None
        with open(self.path, "r+b") as file:  # cut off a row that was not completed
            file.truncate(len(head) + 1 + 8 * width * len(rows))

    def _read_state(self):
        """The number of rows after which the warm start was written, and the warm start."""
        if not self._state_path.exists():
            return 0, None
        warm_start, named = serial.read(self._state_path)
        own = str(named["fingerprint"]) == self.fingerprint
        return (int(named["count"]), warm_start) if own else (0, None)

    def row(self, k) -> Evaluation:
        """The k-th evaluation read."""
        status, _, value, inner, adjoint, seconds, part = self._rows[k][: self._SCALARS]
        omega, grad = np.split(self._rows[k][self._SCALARS :], 2)
        return Evaluation(
            omega, float(value), grad, Residuals(inner, adjoint), Status[self._names[int(status)]],
            float(seconds), float(part),
        )

    def append(self, found: Evaluation, warm_start):
        """Write one evaluation, on a ``part`` of the samples or on all, then its warm start."""
        if not self.kept:
            return
        scalars = (
            self._names.index(found.status.name), warm_start is not None, found.value,
            found.residuals.inner, found.residuals.adjoint, found.seconds, found.part,
        )
        row = np.concatenate([np.array(scalars, float), found.point, found.grad])
        if not self._count:
            header = {
                "fingerprint": self.fingerprint, "size": len(found.point), "statuses": self._names,
                "scalars": self._SCALARS,
            }
            text = json.dumps(header).encode() + b"\n"
            self._state_path.unlink(missing_ok=True)  # of a log that was deleted
            serial.write_atomically(self.path, lambda file: file.write(text))
        with open(self.path, "ab") as file:
            file.write(row.tobytes())
            file.flush()
            os.fsync(file.fileno())
        self._count += 1
        self.warm_start = warm_start
        if warm_start is not None:
            state = {"fingerprint": self.fingerprint, "count": self._count}
            serial.write_atomically(
                self._state_path, lambda file: serial.write(file, warm_start, **state)
            )
