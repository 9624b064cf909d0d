"""A log of evaluations on disk, from which a killed run resumes exactly.

Outer optimisers are deterministic functions of the values and gradients they are given. So a
run is resumed by starting it again and answering from the log until the log ends.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np


def write_atomically(path, write, mode="wb"):
    """Write a file through a temporary neighbour, so that readers see the old or the new one.

    Parameters
    ----------
    path : path-like
    write : callable
        Receives the open file.
    mode : str
    """
    path = Path(path)
    encoding = None if "b" in mode else "utf-8"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp's files are for their owner alone
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


class EvaluationLog:
    """Evaluations (ω, L, ∇L, residuals, status) in the order made, and the warm start after them.

    Parameters
    ----------
    path : path-like or None
        Where the log lives; None keeps none: there is nothing to resume.
    fingerprint : str
        Identifies the problem and the settings.

    Raises
    ------
    ValueError
        If the file belongs to another problem or other settings, or is not a log.
    """

    _COLUMNS = ("omegas", "values", "grads", "residuals", "status", "seconds")

    def __init__(self, path, fingerprint):
        self.path = None if path is None else Path(path)
        self.fingerprint = fingerprint
        self._rows = {name: [] for name in self._COLUMNS}
        self.warm_start = None
        if self.path is not None and self.path.exists():
            self._read()

    def __len__(self):
        return len(self._rows["values"])

    def _read(self):
        try:
            with np.load(self.path, allow_pickle=False) as file:
                stored = {name: file[name] for name in file.files}
        except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"checkpoint={str(self.path)!r} is not a checkpoint of kbo: name another file"
            ) from error
        if str(stored.get("fingerprint")) != self.fingerprint:
            raise ValueError(
                f"checkpoint={str(self.path)!r} belongs to another problem, starting point or "
                "optimiser: delete it, or name another file"
            )
        self._rows = {name: list(stored[name]) for name in self._COLUMNS}
        self.warm_start = stored.get("warm_start")

    def row(self, k):
        """The k-th evaluation as (omega, value, grad, residuals, status name, seconds)."""
        return tuple(self._rows[name][k] for name in self._COLUMNS)

    def append(self, omega, value, grad, residuals, status, seconds, warm_start):
        """Add one evaluation and write the file."""
        if self.path is None:
            return
        row = (np.array(omega), float(value), np.array(grad), tuple(residuals), status, seconds)
        for name, entry in zip(self._COLUMNS, row, strict=True):
            self._rows[name].append(entry)
        self.warm_start = warm_start
        arrays = {name: np.array(rows) for name, rows in self._rows.items()}
        if warm_start is not None:
            arrays["warm_start"] = warm_start
        arrays["fingerprint"] = np.array(self.fingerprint)
        write_atomically(self.path, lambda file: np.savez(file, **arrays))
