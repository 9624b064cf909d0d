"""ARD tuning with centres on all of kin40k and pol, against falkon.hopt and a random search.

    python -m benchmarks.large_tuning FOLDER [--falkon-python PYTHON] [--sets kin40k pol]

FOLDER is as for tuning.py. Split 0, standardised data, M = 1,000 uniform centres, a fifth held out
for the criterion, and a refit on everything.

* kbo is KernelBilevelRegressor with the Gaussian kernel, with its default kernel, and with the
  Gaussian kernel and learned centres (30 steps).
* falkon takes 50 Adam steps (rate 0.1) on falkon.hopt's HoldOut over lengthscales and penalty, in
  float32 (which is faster), from the same start.
* scikit-learn is Nystroem + Ridge with lengthscale and ridge drawn at random, for as long as kbo
  took with learned centres.

Every row is a process of its own; "s" includes compilation. The test RMSE is in standard deviations
of the training target.
"""

import sys
import time
import warnings

import numpy as np

from ._harness import Table, fresh, parser_of, timed
from .tuning import load

CENTERS, ADAM_STEPS = 1000, 50


def kbo_fit(X, y, X_test, setting):
    from sklearn.model_selection import ShuffleSplit

    from kbo import KernelBilevelRegressor

    split = ShuffleSplit(1, test_size=0.2, random_state=0)
    model = KernelBilevelRegressor(cv=split, n_centers=CENTERS, random_state=0, **setting)
    return model.fit(X, y).predict(X_test)


def falkon_fit(X, y, X_test, dtype):
    import falkon
    import torch
    from falkon.hopt.objectives import HoldOut

    torch.manual_seed(0)
    dtype = getattr(torch, dtype)
    X, y, X_test = (torch.as_tensor(a).to(dtype) for a in (X, y, X_test))
    options = falkon.FalkonOptions(use_cpu=True, keops_active="no")
    d = X.shape[1]
    sigma = torch.full((d,), float(np.sqrt(d)), dtype=dtype).requires_grad_()
    kernel = falkon.kernels.GaussianKernel(sigma=sigma, opt=options)
    model = HoldOut(
        kernel, X[torch.randperm(len(X))[:CENTERS]], torch.tensor(1e-6, dtype=dtype),
        opt_centers=False, opt_penalty=True, val_pct=0.2, per_iter_split=False,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(ADAM_STEPS):
        optimizer.zero_grad()
        model(X, y[:, None]).backward()
        optimizer.step()
    return model.predict(X_test).double().numpy()[:, 0]


def random_fit(X, y, X_test, seconds):
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline

    rng = np.random.default_rng(0)
    held = train_test_split(X, y, test_size=0.2, random_state=0)
    best = np.inf, None
    started = time.perf_counter()
    while best[1] is None or time.perf_counter() - started < seconds:
        gamma, alpha = 10 ** rng.uniform(-3, 1) / X.shape[1], 10 ** rng.uniform(-8, 2)
        model = make_pipeline(
            Nystroem(gamma=gamma, n_components=CENTERS, random_state=0), Ridge(alpha=alpha)
        )
        error = np.mean((model.fit(held[0], held[2]).predict(held[1]) - held[3]) ** 2)
        if error < best[0]:
            best = error, model
    return best[1].fit(X, y).predict(X_test)


FITS = {
    "kbo, learned centres": (kbo_fit, {
        "kernel": "gaussian", "tune": ("alpha", "lengthscale", "centers"), "max_iter": 30,
    }),
    "kbo": (kbo_fit, {"kernel": "gaussian"}), "kbo, matern52": (kbo_fit, {}),
    "falkon.hopt": (falkon_fit, "float32"),
    "Nystroem + Ridge, random": (random_fit, None),
}


def measure(folder, name, model, budget):
    """Seconds and error of one row; a random search takes ``budget`` seconds."""
    warnings.simplefilter("ignore")
    X, y, X_test, y_test, _ = load(folder, name, rows=None)
    fit, setting = FITS[model]
    seconds, prediction = timed(fit, X, y, X_test, budget if setting is None else setting)
    rmse = float(np.sqrt(np.mean((prediction - y_test) ** 2)))
    return {"s": seconds, "rmse": rmse, "n": len(X), "d": X.shape[1]}


def main():
    parser = parser_of(__doc__)
    parser.add_argument("folder")
    parser.add_argument("--falkon-python")
    parser.add_argument("--sets", nargs="+", default=["kin40k", "pol"])
    args, table = parser.parse_args(), Table("large_tuning")
    for name in args.sets:
        budget = None
        for model in FITS:
            ours = not model.startswith("falkon")
            if not ours and not args.falkon_python:
                continue
            python = sys.executable if ours else args.falkon_python
            found = fresh(measure, args.folder, name, model, budget or 0, python=python)
            budget = found["s"] if budget is None else budget
            table.add({
                "set": name, "n": found["n"], "d": found["d"], "model": model,
                "test RMSE": round(found["rmse"], 4), "s": round(found["s"], 1),
                "s / first row's": round(found["s"] / budget, 2),
            })


if __name__ == "__main__":
    main()
