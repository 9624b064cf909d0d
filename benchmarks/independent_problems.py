"""The problems of independent.py, for NumPy, JAX and torch alike, and a reference by NumPy.

Nothing here needs kbo but the draw of the quadratics, so that the rivals' interpreter can import
this file.
"""

import numpy as np
from scipy import optimize

BOUNDS = {"ridge": (-8.0, 3.0), "logistic": (-8.0, 3.0), "quadratics": (None, None)}


def draw(problem, seed):
    """The data of a problem, as NumPy arrays; the names of the outer ones end in a prime."""
    if problem == "quadratics":
        from kbo.datasets import make_bilevel_quadratics

        made = make_bilevel_quadratics(1024, 100, 10, random_state=seed)
        inner, outer = made.problem.inner_data.target, made.problem.outer_data.target
        arrays = {k: np.asarray(v) for k, v in inner.items()}
        arrays |= {f"{k}'": np.asarray(v) for k, v in outer.items()}
        return arrays | {"start": made.omega0, "lowest": made.lowest, "seed": seed, "size": 100}
    n, d = (200, 20) if problem == "ridge" else (500, 50)
    random = np.random.default_rng(seed)
    root = np.linalg.cholesky(0.5 ** np.abs(np.subtract.outer(np.arange(d), np.arange(d))))
    X = random.normal(size=(2 * n, d)) @ root.T
    score = X @ (random.normal(size=d) * (random.uniform(size=d) < 0.5))
    if problem == "ridge":
        y = score + 2 * random.normal(size=2 * n)
    else:
        y = np.where(random.uniform(size=2 * n) < 1 / (1 + np.exp(-score)), 1.0, -1.0)
    start = np.full(d, -2.0)
    return {"X": X[:n], "y": y[:n], "X'": X[n:], "y'": y[n:], "start": start, "size": d}


def losses(xp, problem, data):
    """J(θ, ω) and L(θ, ω), by the functions of ``xp``: numpy, jax.numpy or torch."""

    def quadratic(theta, omega, prime):
        a, b, p, r, c, e = (data[k + prime] for k in "abprce")
        squares = 0.5 * ((a @ theta) ** 2).mean() + 0.5 * ((b @ omega) ** 2).mean()
        cross = ((p @ omega) * (r @ theta)).mean()
        return squares + cross + (c @ theta).mean() + (e @ omega).mean()

    def fit(theta, omega, prime):
        z, y = data["X" + prime] @ theta, data["y" + prime]
        return (0.5 * (z - y) ** 2 if problem == "ridge" else xp.logaddexp(0 * z, -y * z)).mean()

    if problem == "quadratics":
        return (lambda t, w: quadratic(t, w, "")), (lambda t, w: quadratic(t, w, "'"))
    penalty = lambda theta, omega: 0.5 * (xp.exp(omega) * theta**2).sum()
    return (lambda t, w: fit(t, w, "") + penalty(t, w)), (lambda t, w: fit(t, w, "'"))


class Reference:
    """θ*, L and its gradient, by NumPy."""

    def __init__(self, problem, data):
        self.problem, self.data = problem, data
        self.outer = losses(np, problem, data)[1]
        self.zero = np.zeros(int(data["size"]))

    def parts(self, theta, omega, prime):
        """The gradient and the Hessian of J or L in θ, without the penalty."""
        if self.problem == "quadratics":
            a, p, r, c = (self.data[k + prime] for k in "aprc")
            H = a.T @ a / len(a)
            return H @ theta + r.T @ (p @ omega) / len(a) + c.mean(0), H
        X, y = self.data["X" + prime], self.data["y" + prime]
        z = X @ theta
        s = 1 / (1 + np.exp(y * z))
        slope, curve = (z - y, np.ones(len(y))) if self.problem == "ridge" else (-y * s, s - s * s)
        return X.T @ slope / len(y), X.T @ (curve[:, None] * X) / len(y)

    def solve(self, omega):
        """θ* by Newton's method, and the Hessian of J there."""
        theta, last = self.zero, np.inf
        penalty = 0.0 if self.problem == "quadratics" else np.exp(omega)
        while True:
            g, H = self.parts(theta, omega, "")
            g, H = g + penalty * theta, H + penalty * np.eye(len(theta))
            size = np.linalg.norm(g)
            if size < 1e-15 or (size < 1e-10 and size > 0.5 * last):
                return theta, H
            theta, last = theta - np.linalg.solve(H, g), size

    def value(self, omega):
        return float(self.outer(self.solve(omega)[0], omega))

    def value_and_gradient(self, omega):
        """In closed form, given θ*."""
        theta, H = self.solve(omega)
        adjoint = -np.linalg.solve(H, self.parts(theta, omega, "'")[0])
        value = float(self.outer(theta, omega))
        if self.problem != "quadratics":
            return value, np.exp(omega) * theta * adjoint
        p, r, b, e = (self.data[k + "'"] for k in "prbe")
        direct = (p.T @ (r @ theta) + b.T @ (b @ omega)) / len(p) + e.mean(0)
        p, r = self.data["p"], self.data["r"]
        return value, direct + p.T @ (r @ adjoint) / len(p)

    def differences(self, omega, h=2e-3):
        """The gradient, by central differences of fourth order."""
        at = lambda k: np.array([self.value(omega + k * h * e) for e in np.eye(len(omega))])
        return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)

    def oracle(self, omega):
        """What the hypergradients are compared with."""
        if self.problem == "logistic":
            return self.differences(omega)
        return self.value_and_gradient(omega)[1]

    def curvature(self, omega):
        """A bound on the largest eigenvalue of the Hessian of J."""
        most = 0.0 if self.problem == "quadratics" else np.exp(np.max(omega))
        return np.linalg.eigvalsh(self.parts(self.zero, omega, "")[1])[-1] + most


def minimized(function, start, problem):
    """L-BFGS-B, until it can do no more."""
    return optimize.minimize(
        function, start, jac=True, method="L-BFGS-B", bounds=[BOUNDS[problem]] * len(start),
        options={"maxiter": 3000, "maxfun": 10000, "ftol": 0.0, "gtol": 1e-12},
    )
