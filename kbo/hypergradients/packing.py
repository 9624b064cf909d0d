"""Several arrays as one, for the single array of a stored warm start."""

from __future__ import annotations

import io

import numpy as np


def pack(parts) -> np.ndarray:
    """Arrays, or None, as one array of bytes."""
    known = {f"part{k}": part for k, part in enumerate(parts) if part is not None}
    buffer = io.BytesIO()
    np.savez(buffer, count=len(parts), **known)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def unpack(packed) -> list:
    """What ``pack`` was given."""
    with np.load(io.BytesIO(packed.tobytes()), allow_pickle=False) as file:
        return [file.get(f"part{k}") for k in range(int(file["count"]))]
