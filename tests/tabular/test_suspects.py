"""Suspicious columns are named."""

import numpy as np
import pandas as pd
import pytest

from kbo import tabular


def suspicious():
    rng = np.random.default_rng(0)
    n = 60
    y = pd.Series(rng.normal(size=n), name="y")
    gaps = np.sort(rng.choice(100, n, replace=False))
    population = rng.choice(10**6, n, replace=False)
    frame = pd.DataFrame({
        "Unnamed: 0": np.arange(n), "shuffled": rng.permutation(n) + 1000, "gaps": gaps,
        "PatientID": population, "uuid": [f"{k:x}" for k in rng.choice(10**9, n, replace=False)],
        "floats": np.arange(n) * 1.0, "cents": 100 * y + 5, "log": np.log(y + 10), "minus": -y,
        "constant": 3.0, "empty": np.nan, "y.1": rng.normal(size=n),
        # and what is none of these:
        "population": population[::-1], "x": rng.normal(size=n), "age": rng.integers(20, 80, n),
        "noisy": y + 1e-3 * rng.normal(size=n), "colour": rng.choice(["r", "g"], n),
        "valid": rng.normal(size=n), "name": [f"n{k}" for k in rng.integers(0, 40, n)],
    })
    columns = tabular.Columns().fit(frame)
    return columns.transform(frame), y


def test_identifiers_copies_and_constants_are_named():
    frame, y = suspicious()
    found = tabular.suspects(frame, y, {"y.1": "y"})
    expected = frame.columns[: frame.columns.get_loc("population")]
    assert list(found) == list(expected)
    for name, reason in {"gaps": "numbers the rows", "PatientID": "identifier", "uuid": "tells",
                         "cents": "copy", "minus": "copy", "constant": "same", "empty": "empty",
                         "y.1": "more than once"}.items():
        assert reason in found[name]


@pytest.mark.parametrize("numeric", [True, False])
def test_a_copy_of_classes_is_one_whatever_it_is_called(numeric):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 60)
    y = pd.Series(np.array(["a", "b", "c"])[codes]).astype("category")
    copy = pd.Series(codes * 1.5) if numeric else pd.Series(np.array(["X", "Y", "Z"])[codes]).astype("category")
    near = copy.copy()
    near[0] = near[codes != codes[0]].iloc[0]
    found = tabular.suspects(pd.DataFrame({"copy": copy, "near": near}), y, {})
    assert list(found) == ["copy"]


def test_columns_made_from_the_target():
    rng = np.random.default_rng(0)
    y = pd.Series(rng.normal(size=60))
    frame = pd.DataFrame({
        "over": (y > 0.3).astype(float), "rounded": y.round(), "x": rng.normal(size=60),
        "band": pd.cut(y, 4, labels=list("dcba")), "flag": rng.integers(0, 2, 60),
    })
    assert tabular.made_from_target(frame, y) == ["over", "rounded", "band"]
    assert tabular.made_from_target(frame, pd.Series(rng.integers(0, 2, 60))) == []
