"""How much the first stage of KernelIVRegressor should smooth: fractions of the best ridge.

    python benchmarks/first_stage.py [--fractions 1 0.1] [--seeds 3]

The ridge with which the first stage predicts best is multiplied by a fraction. It causes no bias,
as the errors y − h(X) are smoothed rather than h alone, but the second stage cannot see what the
first has smoothed away. The table has mean squared errors of h, the median and the worst of the
seeds. Writes results/first_stage.json and .md.
"""

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np

from kbo.estimators import KernelIVRegressor
from kbo.estimators.instruments import tuning as _iv_tuning

sys.path.insert(0, str(Path(__file__).parent))
from instrumental import DESIGNS
from report import write_results

CASES = (("quadratic", 300), ("quadratic", 2000), ("demand", 1000), ("sigmoid", 1000))


def error(design, n, seed):
    data = DESIGNS[design](n, random_state=seed)
    model = KernelIVRegressor(random_state=0).fit(data.X, data.y, Z=data.Z)
    return np.mean((model.predict(data.X_test) - data.y_test) ** 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fractions", nargs="+", type=float, default=[1.0, 0.1])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    table = []
    for design, n in CASES:
        for fraction in options.fractions:
            _iv_tuning.UNDERSMOOTHING = fraction
            errors = [error(design, n, seed) for seed in range(options.seeds)]
            table.append({
                "design": design, "n": n, "fraction": fraction, "seeds": len(errors),
                "median MSE": f"{np.median(errors):.4g}", "worst": f"{max(errors):.4g}",
            })
            print(table[-1], flush=True)
    write_results("first_stage", table)


if __name__ == "__main__":
    main()
