"""How much the first stage of KernelIVRegressor should smooth: fractions of the best ridge.

    python -m benchmarks.first_stage [--fractions 1 0.1] [--seeds 3]

The ridge with which the first stage predicts best is multiplied by a fraction. It causes no bias,
as the errors y − h(X) are smoothed rather than h alone, but the second stage cannot see what the
first has smoothed away. The table has mean squared errors of h, the median and the worst of the
seeds. Writes results/first_stage.json and .md.
"""

import warnings

import numpy as np

from kbo.estimators import KernelIVRegressor
from kbo.estimators.instruments import tuning as _iv_tuning

from ._harness import Table, arguments
from .instrumental import DESIGNS

CASES = (("quadratic", 300), ("quadratic", 2000), ("demand", 1000), ("sigmoid", 1000))


def error(design, n, seed):
    data = DESIGNS[design](n, random_state=seed)
    model = KernelIVRegressor(random_state=0).fit(data.X, data.y, Z=data.Z)
    return np.mean((model.predict(data.X_test) - data.y_test) ** 2)


def main():
    options, table = arguments(__doc__, fractions=[1.0, 0.1], seeds=3), Table("first_stage")
    warnings.simplefilter("ignore")
    for design, n in CASES:
        for fraction in options.fractions:
            _iv_tuning.UNDERSMOOTHING = fraction
            errors = [error(design, n, seed) for seed in range(options.seeds)]
            table.add({
                "design": design, "n": n, "fraction": fraction, "seeds": len(errors),
                "median MSE": f"{np.median(errors):.4g}", "worst": f"{max(errors):.4g}",
            })


if __name__ == "__main__":
    main()
