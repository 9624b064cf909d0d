"""Points that stay on disk and are read in blocks of rows."""

from __future__ import annotations

import numpy as np


class Stream:
    """Points x_i, i = 1…n, of a memory-mapped, Zarr, HDF5 or Parquet table, for Sample.

    Solvers that work in the span of centres (Nystrom, Falkon) read it block by block, and never
    hold all of it in memory. Targets and weights are ordinary arrays.

    Parameters
    ----------
    source : array-like (n, d) with ``shape`` and slices of rows
        For instance np.load(path, mmap_mode="r"), or a Zarr or h5py array; for Parquet files see
        ``from_parquet``.

    Raises
    ------
    ValueError
        If the source is not two-dimensional; when reading, for NaN or infinity.
    """

    dtype = np.dtype(np.float64)

    def __init__(self, source):
        if len(source.shape) != 2 or 0 in source.shape:
            raise ValueError(f"source has shape {source.shape}; it must be (n, d) with n, d ≥ 1")
        self._source = source
        self.shape = tuple(source.shape)
        self.ndim = 2

    @classmethod
    def from_parquet(cls, path, columns=None) -> Stream:
        """Columns of a Parquet file; one row group at a time is in memory.

        Parameters
        ----------
        path : str or path
        columns : list of str, optional
            All by default.
        """
        return cls(_ParquetRows(path, columns))

    def __len__(self):
        return self.shape[0]

    def read(self, start, stop) -> np.ndarray:
        """Rows ``start`` to ``stop`` − 1, float64."""
        rows = np.asarray(self._source[start:stop], np.float64)
        if not np.isfinite(rows).all():
            raise ValueError(f"rows {start} to {stop} of the stream contain NaN or infinity")
        return rows

    def take(self, indices) -> np.ndarray:
        """Rows at increasing indices, float64, read block by block."""
        out = np.empty((len(indices), self.shape[1]))
        step = 65_536
        for start in range(0, len(self), step):
            first, last = np.searchsorted(indices, (start, start + step))
            if first < last:
                block = self.read(start, min(start + step, len(self)))
                out[first:last] = block[indices[first:last] - start]
        return out

    def fingerprint(self) -> bytes:
        """Bytes that identify the data: its shape and its first and last rows."""
        ends = np.concatenate([self.read(0, 1), self.read(len(self) - 1, len(self))])
        return repr(self.shape).encode() + ends.tobytes()


class _ParquetRows:
    """Gives access to slices of the rows of a Parquet file."""

    def __init__(self, path, columns):
        import pyarrow.parquet

        self._file = pyarrow.parquet.ParquetFile(path)
        self._columns = list(columns) if columns is not None else self._file.schema_arrow.names
        metadata = self._file.metadata
        sizes = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
        self._offsets = np.concatenate([[0], np.cumsum(sizes)])
        self.shape = (int(self._offsets[-1]), len(self._columns))
        self._cached = (None, None)

    def _group(self, k):
        if self._cached[0] != k:
            table = self._file.read_row_group(k, columns=self._columns)
            columns = [table[name].to_numpy() for name in self._columns]
            self._cached = k, np.stack(columns, axis=1).astype(np.float64)
        return self._cached[1]

    def __getitem__(self, rows):
        start, stop, _ = rows.indices(self.shape[0])
        parts = []
        for k in range(len(self._offsets) - 1):
            low, high = self._offsets[k], self._offsets[k + 1]
            if low < stop and start < high:
                parts.append(self._group(k)[max(start - low, 0) : stop - low])
        return np.concatenate(parts)
