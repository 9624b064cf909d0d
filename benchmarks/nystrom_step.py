"""One value and hypergradient of a Nyström hold-out criterion, against that of falkon.hopt.

    python -m benchmarks.nystrom_step [--falkon-python PYTHON] [--points N] [--centers M]

10 ARD lengthscales and the ridge (1e-6), d = 10, a fifth of the points held out; points, centres
and split are the same for all. PYTHON is an interpreter with the falkon library (built from source,
https://github.com/FalkonML/falkon); without it only kbo is timed. Every row is a process of its
own. "peak MiB" is the growth of the process's peak memory from before the first evaluation. Errors
are relative to a QR solution of the same Nyström problem, and to its central differences along a
random direction of the lengthscales.
"""

import numpy as np

from ._harness import Table, arguments, fresh, interpreters, peak_memory, timed

DIM, RIDGE, LENGTHSCALE = 10, 1e-6, 3.0


def data(points, centers):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(points, DIM))
    y = np.sin(X.sum(1)) + 0.1 * rng.normal(size=points)
    held = points // 5
    return X[held:], y[held:], X[:held], y[:held], X[held : held + centers]


def kbo_step(points, centers):
    import jax

    import kbo

    jax.config.update("jax_enable_x64", True)
    X, y, X_val, y_val, Z = data(points, centers)
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(), kbo.Sample(X, y), kbo.Sample(X_val, y_val),
        lambda w: kbo.RKHS(kbo.kernels.Gaussian(w["lengthscale"])), lambda w: w["ridge"],
    )
    solver, state = kbo.solvers.Nystrom(Z), None

    def step(lengthscale, ridge):
        nonlocal state
        hg = kbo.value_and_hypergradient(
            problem, {"lengthscale": lengthscale, "ridge": ridge}, solver=solver, state=state
        )
        state = hg.state
        return 2 * hg.value, 2 * np.append(hg.grad["lengthscale"], hg.grad["ridge"])

    return step


def falkon_step(points, centers, dtype):
    import falkon
    import torch
    from falkon.hopt.objectives import HoldOut
    from falkon.hopt.objectives.transforms import PositiveTransform

    X, y, X_val, y_val, Z = (torch.as_tensor(a).to(dtype) for a in data(points, centers))
    options = falkon.FalkonOptions(use_cpu=True, keops_active="no")
    everything, targets = torch.cat([X, X_val]), torch.cat([y, y_val])[:, None]

    def step(lengthscale, ridge):
        sigma = torch.as_tensor(lengthscale).to(dtype).requires_grad_()
        kernel = falkon.kernels.GaussianKernel(sigma=sigma, opt=options)
        model = HoldOut(
            kernel, Z, torch.tensor(ridge, dtype=dtype), opt_centers=False, opt_penalty=True,
            val_pct=0.2, per_iter_split=False, pen_transform=PositiveTransform(1e-12),
        )
        model.tr_indices = torch.arange(len(X))
        model.val_indices = torch.arange(len(X), len(everything))
        loss = model(everything, targets)
        loss.backward()
        grads = [p.grad.double().numpy().ravel() for p in model.kernel.parameters()]
        return float(loss), np.append(np.concatenate(grads), float(model.penalty_.grad))

    return step


def measure(model, points, centers, repeats=7):
    """Seconds, value, gradient and memory of one model."""
    if model == "kbo float64":
        step = kbo_step(points, centers)
    else:
        import torch

        step = falkon_step(points, centers, getattr(torch, model.split()[1]))
    before = peak_memory()
    scales = LENGTHSCALE * (1 + 1e-4 * np.arange(repeats + 1))
    seconds = [timed(step, scale * np.ones(DIM), RIDGE)[0] for scale in scales]
    value, grad = step(LENGTHSCALE * np.ones(DIM), RIDGE)
    return {
        "first": seconds[0], "seconds": sorted(seconds[1:])[repeats // 2], "value": value,
        "grad": list(grad), "peak": peak_memory() - before,
    }


def reference(points, centers, direction, step=1e-4):
    """Value and directional derivative of the same criterion by QR and central differences."""
    X, y, X_val, y_val, Z = data(points, centers)

    def value(t):
        lengthscale = LENGTHSCALE + t * direction[:DIM]
        ridge = RIDGE + t * direction[DIM]

        def kernel(a, b):
            a, b = a / lengthscale, b / lengthscale
            return np.exp(-0.5 * np.maximum(
                (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0
            ))

        K = kernel(Z, Z)
        L = np.linalg.cholesky(K + 10 * np.finfo(float).eps * np.trace(K) * np.eye(len(Z)))
        features = np.linalg.solve(L, kernel(X, Z).T).T
        stacked = np.vstack([features, np.sqrt(ridge * len(X)) * np.eye(len(Z))])
        Q, R = np.linalg.qr(stacked)
        u = np.linalg.solve(R, Q[: len(X)].T @ y)
        prediction = np.linalg.solve(L, kernel(X_val, Z).T).T @ u
        return np.mean((prediction - y_val) ** 2)

    slope = (8 * (value(step) - value(-step)) - (value(2 * step) - value(-2 * step))) / (12 * step)
    return value(0.0), slope


def main():
    args = arguments(__doc__, falkon_python=None, points=20_000, centers=1_000)
    direction = np.append(np.random.default_rng(1).normal(size=DIM), 0.0)
    value, slope = reference(args.points, args.centers, direction)
    table = Table("nystrom_step")
    for model, python in interpreters(args.falkon_python).items():
        found = fresh(measure, model, args.points, args.centers, python=python)
        ours = table.rows[0]["median s"] if table.rows else found["seconds"]
        table.add({
            "model": model, "first s": round(found["first"], 2),
            "median s": round(found["seconds"], 3),
            "times kbo": round(found["seconds"] / ours, 1),
            "peak MiB": round(found["peak"]),
            "value error": f"{abs(found['value'] / value - 1):.1e}",
            "derivative error": f"{abs(np.dot(found['grad'], direction) / slope - 1):.1e}",
        })


if __name__ == "__main__":
    main()
