"""The data sets that ship with scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn import datasets

BUNDLED = {
    "diabetes": (datasets.load_diabetes, False),
    "linnerud": (datasets.load_linnerud, False),
    "breast_cancer": (datasets.load_breast_cancer, True),
    "digits": (datasets.load_digits, True),
    "iris": (datasets.load_iris, True),
    "wine": (datasets.load_wine, True),
}


def load_bundled(name):
    """A scikit-learn data set as (X frame, y array, whether it is classification)."""
    loader, classification = BUNDLED[name]
    bunch = loader()
    columns = [str(c) for c in bunch.feature_names]
    return pd.DataFrame(bunch.data, columns=columns), np.asarray(bunch.target), classification
